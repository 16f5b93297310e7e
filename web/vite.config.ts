import { join } from 'node:path';
import { defineConfig } from 'vite';

/** The pages. Everything that they need is in the bundle: they ask no other server for anything. */
export default defineConfig({
  root: import.meta.dirname,
  // Behind a proxy that adds a path, too.
  base: './',
  logLevel: 'warn',
  build: {
    outDir: 'dist/page',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    // The Content-Security-Policy allows no script but files.
    modulePreload: { polyfill: false },
    target: 'es2023',
    reportCompressedSize: false,
    chunkSizeWarningLimit: 1000,
    rolldownOptions: {
      input: {
        index: join(import.meta.dirname, 'index.html'),
        gallery: join(import.meta.dirname, 'gallery.html'),
      },
    },
  },
  worker: { format: 'es' },
});
