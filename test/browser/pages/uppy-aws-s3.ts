import AwsS3 from '@uppy/aws-s3';
import Uppy from '@uppy/core';

/* Uppy with its own AwsS3 plugin and nothing of ours: what is chosen goes to a Companion, as it believes. */

const input = document.querySelector('input') as HTMLInputElement;
const state = document.querySelector('output') as HTMLOutputElement;
const options = new URLSearchParams(location.search);

const uppy = new Uppy();
uppy.use(AwsS3, {
  companionEndpoint: options.get('endpoint') ?? '',
  shouldUseMultipart: options.get('multipart') === 'true',
});
uppy.on('upload-success', (_file, { uploadURL }) => {
  state.value = uploadURL ?? 'no address';
});
uppy.on('upload-error', (_file, error) => {
  state.value = `failed: ${error.message}`;
});
input.addEventListener('change', () => {
  for (const file of input.files ?? []) uppy.addFile(file);
  void uppy.upload();
});
