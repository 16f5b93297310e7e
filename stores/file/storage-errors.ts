import { StoreError } from '../errors.ts';

/** Gives errors of the file system the code that decides what a client is told. */
export async function withStorageErrors<T>(operation: () => Promise<T>): Promise<T> {
  try {
    return await operation();
  } catch (error) {
    if (error instanceof StoreError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG') {
      throw new StoreError('storage_full', 'the disk is full', { cause: error });
    }
    throw new StoreError('store_unavailable', `the file system failed: ${code ?? String(error)}`, {
      cause: error,
    });
  }
}
