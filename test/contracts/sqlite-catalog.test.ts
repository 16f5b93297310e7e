import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteCatalog } from '../../stores/catalog/sqlite.ts';
import type { UploadCatalog } from '../../stores/types.ts';
import { uploadCatalogContract } from './upload-catalog.ts';

uploadCatalogContract(
  'sqlite',
  async () => {
    const directory = await mkdtemp(join(tmpdir(), 'landfall-catalog-'));
    const opened: UploadCatalog[] = [];
    return {
      openCatalog() {
        const catalog = openSqliteCatalog({ path: join(directory, 'catalog.sqlite') });
        opened.push(catalog);
        return catalog;
      },
      async teardown() {
        for (const catalog of opened) await catalog.close();
        await rm(directory, { recursive: true });
      },
    };
  },
  { isShared: false },
);
