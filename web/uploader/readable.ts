import { UploadError } from './errors.ts';

/**
 * A file that was changed or removed after it was chosen fails like a network does: this tells the two apart.
 *
 * @throws UploadError changed
 */
export async function assertReadable(file: Blob): Promise<void> {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch (error) {
    throw new UploadError('changed', 'The file was changed or removed while it was uploaded.', {
      cause: error,
    });
  }
}
