import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describePipeline } from '../contracts/pipeline.ts';
import { startServer } from '../support/server.ts';

describePipeline('over files, in one process', async (env) => {
  const server = await startServer({ env });
  const namesIn = (directory: string) =>
    readdir(join(server.dataDir, directory)).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
  return {
    filesUrl: server.filesUrl,
    async storedOf(id) {
      const uploads = await namesIn('uploads');
      return {
        original: uploads.filter((name) => name.startsWith(id)),
        previews: await namesIn(`previews/${id}`),
      };
    },
    async close() {
      await server.stop();
    },
  };
});
