import fs from 'node:fs';
import { StoreError } from '../errors.ts';
import type { ConcatenatingStore } from '../types.ts';
import { concatenateFiles } from './concatenate.ts';
import type { DirectorySync } from './directory-sync.ts';
import { type ConcatenationPlan, infoOf, replaceInfoFile } from './file-info.ts';
import { withStorageErrors } from './storage-errors.ts';
import { type FileState, stateOf, type UploadFiles } from './upload-files.ts';

export interface FinalUploadsOptions {
  files: UploadFiles;
  directorySync: DirectorySync;
  /** Whether what is said to be there has to survive a power cut. */
  isSynced: boolean;
}

/** tus Concatenation over files: a plan in the final upload's info, and files that are put together by it. */
export function createFinalUploads({
  files,
  directorySync,
  isSynced,
}: FinalUploadsOptions): ConcatenatingStore {
  return {
    /** In one step, unlike the info of an ordinary upload: repeating the request must find the plan or nothing. */
    async plan(final, partials) {
      const plan: ConcatenationPlan = {
        partials: partials.map(({ id, size }) => ({ id, size: size ?? 0 })),
        isDone: final.size === 0,
      };
      await withStorageErrors(async () => {
        // Of nothing: there is no second step, so the file comes before the word that it is there.
        if (plan.isDone) await fs.promises.writeFile(files.dataPath(final.id), '');
        await replaceInfoFile(files.infoPath(final.id), { ...infoOf(final), concatenation: plan });
        if (isSynced) await directorySync.sync();
      });
      final.storeState = {
        hasData: plan.isDone,
        isDataSynced: false,
        isInfoSynced: true,
        plan,
      } satisfies FileState;
      final.storage = { type: 'file', path: files.dataPath(final.id) };
      final.expiresAtMs = files.expiresAtMs(final, final.createdAtMs);
      final.isComplete = final.isFull;
      return final;
    },

    async putTogether(final, options) {
      const state = stateOf(final);
      const { plan } = state;
      if (plan === undefined) throw new StoreError('upload_damaged', `${final.id} is not a final upload`);
      if (plan.isDone) return;
      await concatenateFiles(
        { finalPath: files.dataPath(final.id), partialPath: files.dataPath, plan, isSynced },
        options,
      );
      // The name before the word that it is there.
      if (isSynced) await withStorageErrors(() => directorySync.sync());
      state.plan = { ...plan, isDone: true };
      await files.replaceInfo(final, {});
      state.hasData = true;
      state.isDataSynced = isSynced;
      final.offset = final.size ?? 0;
      final.expiresAtMs = undefined;
      final.isComplete = true;
    },
  };
}
