import Uppy from '@uppy/core';
import Tus from '@uppy/tus';

/* Uppy with its own Tus plugin and nothing of ours: what is chosen is uploaded in four parts. */

const MIB = 1024 * 1024;

const input = document.querySelector('input') as HTMLInputElement;
const state = document.querySelector('output') as HTMLOutputElement;

const uppy = new Uppy();
uppy.use(Tus, {
  endpoint: new URLSearchParams(location.search).get('endpoint') ?? '',
  parallelUploads: 4,
  chunkSize: 3 * MIB,
});
uppy.on('progress', (percent) => {
  state.dataset.percent = String(percent);
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
