import { closeSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PDFiumModule } from '@hyzyla/pdfium';

interface WasmInstance {
  exports: Record<string, unknown> & { memory: { readonly buffer: ArrayBuffer } };
}

type WasmImports = Record<string, (...args: never[]) => unknown>;

/** What we use of it: Node's types have no WebAssembly without a browser's. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: Record<string, WasmImports>) => WasmInstance;
};

/** The one file that PDFium sees, under a name that has nothing to do with its own. */
export const INPUT_PATH = '/input.pdf';
const INPUT_FD = 1000;
/** wasi_snapshot_preview1's errno: a syscall returns it negated, an fd_… as it is. */
const ENOENT = 44;
const EBADF = 8;
const SEEK_SET = 0;
const SEEK_CUR = 1;
const S_IFREG_READABLE = 0o100444;

/**
 * PDFium with Emscripten's system calls, ours where it matters. The stock ones keep files in memory: a document would
 * be there twice before its first page is drawn.
 *
 * @param memoryBytes most that it may have
 * @returns the module that Emscripten makes
 */
export async function startPdfium(
  path: string,
  memoryBytes: number,
): Promise<{ module: unknown; isOutOfMemory(): boolean }> {
  let memory: WasmInstance['exports']['memory'] | undefined;
  let isOutOfMemory = false;
  let fd: number | undefined;
  let position = 0;
  const heap = () => new DataView(memory!.buffer);

  const calls = {
    __syscall_openat(_directory: number, pathPointer: number): number {
      const name = Buffer.from(memory!.buffer, pathPointer, INPUT_PATH.length + 1).toString('latin1');
      if (name !== `${INPUT_PATH}\0` || fd !== undefined) return -ENOENT;
      fd = openSync(path, 'r');
      return INPUT_FD;
    },
    __syscall_fstat64(called: number, stat: number): number {
      if (called !== INPUT_FD || fd === undefined) return -EBADF;
      new Uint8Array(memory!.buffer, stat, 96).fill(0);
      heap().setUint32(stat + 4, S_IFREG_READABLE, true);
      heap().setBigInt64(stat + 24, BigInt(fstatSync(fd).size), true);
      return 0;
    },
    fd_seek(called: number, offset: bigint, whence: number, result: number): number {
      if (called !== INPUT_FD || fd === undefined) return EBADF;
      const base = whence === SEEK_SET ? 0 : whence === SEEK_CUR ? position : fstatSync(fd).size;
      position = Math.max(0, base + Number(offset));
      heap().setBigInt64(result, BigInt(position), true);
      return 0;
    },
    fd_read(called: number, vectors: number, count: number, result: number): number {
      if (called !== INPUT_FD || fd === undefined) return EBADF;
      let total = 0;
      for (let index = 0; index < count; index++) {
        const start = heap().getUint32(vectors + index * 8, true);
        const length = heap().getUint32(vectors + index * 8 + 4, true);
        const bytes = readSync(fd, new Uint8Array(memory!.buffer, start, length), 0, length, position);
        position += bytes;
        total += bytes;
        if (bytes < length) break;
      }
      heap().setUint32(result, total, true);
      return 0;
    },
    fd_close(called: number): number {
      if (called !== INPUT_FD || fd === undefined) return EBADF;
      closeSync(fd);
      fd = undefined;
      return 0;
    },
  };

  const wasm = new WebAssembly.Module(
    readFileSync(fileURLToPath(import.meta.resolve('@hyzyla/pdfium/pdfium.wasm'))),
  );
  const options = {
    // Emscripten's complaints; what they are about comes as an exception, too.
    printErr: () => {},
    instantiateWasm(imports: Record<string, WasmImports>, onInstance: (instance: WasmInstance) => void) {
      const { env = {} } = imports;
      const grow = env.emscripten_resize_heap as (bytes: number) => boolean;
      const emscripten_resize_heap = (bytes: number): boolean => {
        // It comes as a signed number.
        if (bytes >>> 0 <= memoryBytes) return grow(bytes);
        isOutOfMemory = true;
        return false;
      };
      const ours = { ...env, ...calls, emscripten_resize_heap };
      const instance = new WebAssembly.Instance(wasm, { env: ours, wasi_snapshot_preview1: ours });
      memory = instance.exports.memory;
      onInstance(instance);
      return instance.exports;
    },
  };
  // The package declares less than its module takes.
  const module = await PDFiumModule(options as unknown as Parameters<typeof PDFiumModule>[0]);
  return { module, isOutOfMemory: () => isOutOfMemory };
}
