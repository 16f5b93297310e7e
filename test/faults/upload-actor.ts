import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ConnectionFault, type Exchange, exchange, type FaultyRequest, type Outcome } from './client.ts';
import { nextWriteBytes, type UploadPlan } from './plan.ts';
import { type Random, sha256Hex } from './random.ts';
import { Violation, type World } from './world.ts';

const TUS = { 'Tus-Resumable': '1.0.0' };
const OFFSET_TYPE = { 'Content-Type': 'application/offset+octet-stream' };
/** Answers that tell a client to come back in a moment. */
const RETRIED = new Set([423, 503]);
const MAX_STEPS = 400;

export type UploadResult = { end: 'finished' | 'deleted'; id: string; plan: UploadPlan };

type Fault =
  | { kind: 'kill' | 'terminate'; at: 'byte' | 'delay' | 'sent' }
  | { kind: 'cut'; how: 'close' | 'reset' }
  | { kind: 'stall' }
  | { kind: 'rival' };

/**
 * One client that uploads one file, whatever happens to the server and to its own connections, and that watches
 * over what it was told: an offset once acknowledged never decreases, nothing disappears, what is served is what
 * was sent.
 */
export class UploadActor {
  readonly #world: World;
  readonly #random: Random;
  readonly #plan: UploadPlan;
  readonly #name: string;
  readonly #stalled: Exchange[] = [];
  #url = '';
  #faultsLeft: number;
  /** The largest offset that any answer has acknowledged. */
  #acknowledged = 0;
  /** What the next PATCH starts at; undefined: ask. */
  #offset: number | undefined;
  #isLengthKnown: boolean;

  constructor(world: World, random: Random, plan: UploadPlan, name: string) {
    this.#world = world;
    this.#random = random;
    this.#plan = plan;
    this.#name = name;
    this.#faultsLeft = plan.faults;
    this.#isLengthKnown = !plan.hasDeferredLength;
  }

  async run(): Promise<UploadResult> {
    const { content, deletesAtByte, endsWithEmptyPatch, ...how } = this.#plan;
    this.#log(
      `${content.length} bytes, ${how.requestBytes} per request, ${how.faults} faults` +
        `${how.hasDeferredLength ? ', deferred length' : ''}${how.sendsDataOnCreation ? ', data on creation' : ''}` +
        `${how.isChunked ? ', chunked' : ''}${how.metadata.includes('checksum') ? ', sha256 declared' : ''}` +
        `${how.hasChecksums ? ', checksums' : ''}${how.concat === undefined ? '' : `, ${how.concat}`}`,
    );
    try {
      await this.#create();
      for (let step = 0; ; step++) {
        if (step > MAX_STEPS) throw new Violation('the upload does not come to an end');
        this.#offset ??= await this.#ask();
        if (deletesAtByte !== undefined && this.#offset >= deletesAtByte) return await this.#delete();
        if (this.#offset === content.length && this.#isLengthKnown) break;
        await this.#send(this.#offset);
      }
      if (endsWithEmptyPatch) await this.#sendEmptyPatch();
      if (this.#plan.concat !== 'partial') await this.#download();
      return { end: 'finished', id: this.#id(), plan: this.#plan };
    } catch (error) {
      if (error instanceof Violation) error.message = `${this.#name}: ${error.message}`;
      throw error;
    } finally {
      for (const { destroy } of this.#stalled) destroy();
    }
  }

  async #create(): Promise<void> {
    const { content, hasDeferredLength, sendsDataOnCreation, metadata, isChunked, concat } = this.#plan;
    const isFinal = concat?.startsWith('final') === true;
    const lengthHeader: Record<string, string> = hasDeferredLength
      ? { 'Upload-Defer-Length': '1' }
      : { 'Upload-Length': `${content.length}` };
    for (;;) {
      const body = sendsDataOnCreation ? this.#piece(0) : undefined;
      const outcome = await this.#request(
        {
          method: 'POST',
          url: `${this.#world.topology.origin}/files`,
          headers: {
            'Upload-Metadata': metadata,
            ...(concat === undefined ? {} : { 'Upload-Concat': concat }),
            ...(isFinal ? {} : lengthHeader),
            ...(body === undefined ? {} : { ...OFFSET_TYPE, ...this.#checksumOf(body) }),
          },
          ...(body === undefined ? {} : { body, isChunked }),
        },
        this.#pickFault(['kill', 'terminate', 'cut']),
      );
      if (outcome.status === 201) {
        this.#url = new URL(outcome.headers.location ?? '', this.#world.topology.origin).href;
        if (isFinal && offsetOf(outcome) !== content.length) {
          throw new Violation(`201 for a final upload of ${offsetOf(outcome)} of ${content.length} bytes`);
        }
        if (body === undefined && !isFinal) this.#offset = 0;
        else this.#offset = this.#acknowledge(offsetOf(outcome), '201');
        if (body !== undefined && outcome.hasSentAll && this.#offset !== body.length) {
          // Only a server that was told to stop may have taken less than everything.
          this.#log(`201 for ${this.#offset} of ${body.length} bytes`);
        }
        return;
      }
      this.#expectRetry(outcome, 'POST');
      await this.#pause();
    }
  }

  /** HEAD: the offset, which is at least what was acknowledged. */
  async #ask(): Promise<number> {
    for (;;) {
      const request = { method: 'HEAD', url: this.#url } as const;
      const outcome = await this.#request(request, this.#pickFault(['kill'], 0.15));
      if (outcome.status === 200) {
        if (outcome.headers['upload-metadata'] !== this.#plan.metadata) {
          throw new Violation(`HEAD gives Upload-Metadata ${outcome.headers['upload-metadata']}`);
        }
        this.#checkLength(outcome);
        return this.#acknowledge(offsetOf(outcome), 'HEAD');
      }
      // Anything else makes tus-js-client throw the upload away and start from zero.
      if (outcome.status !== undefined && outcome.status !== 423) {
        this.#expectRetry(outcome, 'HEAD');
        if (outcome.headers['landfall-error'] !== 'shutting_down') {
          throw new Violation(`HEAD is answered ${describe(outcome)}`);
        }
      }
      await this.#pause();
    }
  }

  #checkLength({ headers }: Outcome): void {
    const length = headers['upload-length'];
    if (this.#isLengthKnown && length !== `${this.#plan.content.length}`) {
      throw new Violation(`HEAD gives Upload-Length ${length}`);
    }
    if (!this.#isLengthKnown && length !== undefined) {
      if (length !== `${this.#plan.content.length}`)
        throw new Violation(`HEAD gives Upload-Length ${length}`);
      this.#isLengthKnown = true; // declared by a request whose answer was lost
    }
  }

  async #send(offset: number): Promise<void> {
    const fault = this.#pickFault(['kill', 'terminate', 'cut', 'stall', 'rival']);
    const request = this.#patchAt(offset);
    if (this.#plan.hasChecksums && request.body.length > 0 && this.#random.chance(0.25)) {
      await this.#sendDamaged(request, fault);
      return;
    }
    const sent = this.#request(request, fault);
    const rival = fault?.kind === 'rival' ? this.#rivalOf(offset) : undefined;
    this.#offset = undefined;
    const outcome = await sent;
    this.#noteWritten(outcome, offset, request);
    await rival;
    if (outcome.status !== 204) {
      await this.#pause();
      return;
    }
    if (request.headers['Upload-Length'] !== undefined) this.#isLengthKnown = true;
    // A client need not ask after a 204; some do.
    if (rival === undefined && this.#random.chance(0.8)) this.#offset = this.#acknowledged;
  }

  /** Bytes that are not what their checksum says: whatever happens to this request, none of them may ever count. */
  async #sendDamaged(request: FaultyRequest & { body: Buffer }, fault: Fault | undefined): Promise<void> {
    const body = Buffer.from(request.body);
    const at = this.#random.int(0, body.length - 1);
    body.writeUInt8(body.readUInt8(at) ^ 0xff, at);
    this.#log(`byte ${at} of the next PATCH is damaged`);
    this.#offset = undefined;
    const outcome = await this.#request({ ...request, body }, fault?.kind === 'rival' ? undefined : fault);
    // 409: a request that was given up as lost has arrived meanwhile.
    if (outcome.status !== 460 && outcome.status !== 409) this.#expectRetry(outcome, 'damaged PATCH');
    await this.#pause();
  }

  /** The same bytes once more on another connection, as a client does whose first one hangs somewhere. */
  async #rivalOf(offset: number): Promise<void> {
    await sleep(this.#random.skewedInt(0, 60));
    const request = this.#patchAt(offset);
    this.#log(`rival PATCH at ${offset} of ${request.body.length} bytes`);
    const outcome = await exchange(this.#onTheWire(request)).outcome;
    this.#log(`rival: ${describe(outcome)}`);
    this.#noteWritten(outcome, offset, request);
  }

  #patchAt(offset: number): FaultyRequest & { body: Buffer; headers: Record<string, string> } {
    const { content, isChunked } = this.#plan;
    const body = this.#piece(offset);
    const isLast = offset + body.length === content.length;
    // With the first bytes, with the last ones, or somewhere in between: once known it may be said again.
    const declaresLength = this.#plan.hasDeferredLength && (isLast || this.#random.chance(0.2));
    return {
      method: 'PATCH',
      url: this.#url,
      headers: {
        ...OFFSET_TYPE,
        'Upload-Offset': `${offset}`,
        ...(declaresLength ? { 'Upload-Length': `${content.length}` } : {}),
        ...this.#checksumOf(body),
      },
      body,
      isChunked,
    };
  }

  /** What the answer to a PATCH says must fit to what was sent. */
  #noteWritten(outcome: Outcome, offset: number, { body, method }: { body: Buffer; method: string }): void {
    const { status } = outcome;
    if (status === undefined) return;
    if (status === 204) {
      const acknowledged = offsetOf(outcome);
      if (!outcome.hasSentAll || acknowledged !== offset + body.length) {
        throw new Violation(
          `204 with offset ${acknowledged} for ${outcome.sentBytes} of ${body.length} bytes at ${offset}`,
        );
      }
      this.#acknowledge(acknowledged, '204', true);
    } else if (status === 409) {
      // Right only if the upload has meanwhile more than we knew of (a rival, or our own request before).
    } else {
      this.#expectRetry(outcome, method);
    }
  }

  async #sendEmptyPatch(): Promise<void> {
    const size = this.#plan.content.length;
    const outcome = await this.#request(
      {
        method: 'PATCH',
        url: this.#url,
        headers: { ...OFFSET_TYPE, 'Upload-Offset': `${size}` },
        body: Buffer.alloc(0),
      },
      this.#pickFault(['kill']),
    );
    if (outcome.status === undefined) return;
    if (outcome.status === 204 && offsetOf(outcome) === size) return;
    this.#expectRetry(outcome, 'empty PATCH');
  }

  async #delete(): Promise<UploadResult> {
    let wasSent = false;
    for (;;) {
      const outcome = await this.#request(
        { method: 'DELETE', url: this.#url },
        this.#pickFault(['kill'], 0.6),
      );
      const isGone = outcome.status === 404 || outcome.status === 410;
      if (outcome.status === 204 || (wasSent && isGone)) break;
      wasSent = true;
      this.#expectRetry(outcome, 'DELETE');
      await this.#pause();
    }
    for (;;) {
      const outcome = await this.#request({ method: 'HEAD', url: this.#url }, undefined);
      if (outcome.status === 404 || outcome.status === 410) break;
      this.#expectRetry(outcome, 'HEAD after DELETE');
      await this.#pause();
    }
    return { end: 'deleted', id: this.#id(), plan: this.#plan };
  }

  async #download(): Promise<void> {
    for (;;) {
      const fault = this.#pickFault(['kill'], 0.15);
      const outcome = await this.#request({ method: 'GET', url: this.#url, headers: {} }, fault);
      if (outcome.status === 200 && outcome.isComplete) {
        const sha256 = sha256Hex(outcome.body);
        if (sha256 !== this.#plan.sha256) {
          throw new Violation(`${firstDifference(outcome.body, this.#plan.content)} in what is served`);
        }
        this.#log('served byte by byte what was sent');
        return;
      }
      // 409 with Retry-After: the declared digest is still being verified.
      const isPending = outcome.headers['landfall-error'] === 'upload_pending';
      if (!isPending && outcome.status !== 200) this.#expectRetry(outcome, 'GET');
      await this.#pause();
    }
  }

  /** One request, and the fault that comes with it. */
  async #request(request: FaultyRequest, fault: Fault | undefined): Promise<Outcome> {
    await this.#world.ensureUp();
    const bodyBytes = request.body?.length ?? 0;
    const delayMs = this.#random.skewedInt(0, 40);
    const byte = this.#random.int(0, bodyBytes);
    const isAtByte =
      fault !== undefined &&
      fault.kind !== 'rival' &&
      request.body !== undefined &&
      (fault.kind === 'cut' || fault.kind === 'stall' || fault.at === 'byte');
    const timers: NodeJS.Timeout[] = [];
    const strike = (why: string) => {
      if (fault?.kind === 'kill') this.#world.kill('SIGKILL', `${this.#name}, ${request.method}, ${why}`);
      if (fault?.kind === 'terminate')
        this.#world.kill('SIGTERM', `${this.#name}, ${request.method}, ${why}`);
    };
    const act = (): ConnectionFault => {
      strike(`after byte ${byte}`);
      if (fault?.kind === 'cut') return fault.how;
      return fault?.kind === 'stall' ? 'stall' : 'go on';
    };
    const running = exchange({
      ...this.#onTheWire(request),
      ...(isAtByte ? { at: { byte, act } } : {}),
      onSent: () => {
        if (fault !== undefined && 'at' in fault && fault.at === 'sent') {
          timers.push(setTimeout(() => strike(`${delayMs / 4} ms after all was sent`), delayMs / 4));
        }
      },
    });
    if (fault !== undefined && 'at' in fault && !isAtByte && fault.at !== 'sent') {
      timers.push(setTimeout(() => strike(`${delayMs} ms after it began`), delayMs));
    }
    this.#log(
      `${request.method} ${request.headers?.['Upload-Offset'] ?? ''} ${request.body === undefined ? '' : `${bodyBytes} bytes`}${describeFault(fault, byte, isAtByte)}`,
    );
    if (fault?.kind === 'stall') return this.#leaveStalled(running, bodyBytes);
    const outcome = await running.outcome;
    this.#log(`${request.method}: ${describe(outcome)}`);
    for (const timer of timers) clearTimeout(timer);
    return outcome;
  }

  /** Goes away from a connection that stays open and silent: the next request has to get past it. */
  async #leaveStalled(running: Exchange, bodyBytes: number): Promise<Outcome> {
    this.#stalled.push(running);
    running.outcome.catch(() => {}); // nobody waits for it
    await sleep(this.#random.int(5, 80));
    this.#log('left a stalled connection behind');
    return {
      status: undefined,
      headers: {},
      body: Buffer.alloc(0),
      isComplete: false,
      sentBytes: bodyBytes,
      hasSentAll: false,
    };
  }

  #onTheWire(request: FaultyRequest): FaultyRequest {
    return {
      ...request,
      headers: { ...TUS, ...request.headers },
      nextWriteBytes: nextWriteBytes(this.#random),
    };
  }

  #piece(offset: number): Buffer {
    const { content, requestBytes } = this.#plan;
    return content.subarray(offset, Math.min(content.length, offset + requestBytes));
  }

  #checksumOf(body: Buffer): Record<string, string> {
    if (!this.#plan.hasChecksums) return {};
    return { 'Upload-Checksum': `sha1 ${createHash('sha1').update(body).digest('base64')}` };
  }

  #pickFault(kinds: Fault['kind'][], probability = 0.55): Fault | undefined {
    if (this.#faultsLeft === 0 || !this.#random.chance(probability)) return undefined;
    this.#faultsLeft -= 1;
    const weights = { kill: 8, terminate: 1.5, cut: 2.5, stall: 1.5, rival: 1.5 };
    const kind = this.#random.weighted(kinds.map((candidate) => [weights[candidate], candidate] as const));
    if (kind === 'cut') return { kind, how: this.#random.pick(['close', 'reset']) };
    if (kind === 'stall' || kind === 'rival') return { kind };
    return {
      kind,
      at: this.#random.weighted([
        [5, 'byte'],
        [2, 'delay'],
        [2, 'sent'],
      ]),
    };
  }

  /** @param isLate the answer may be older than another one that said more (two requests at once) */
  #acknowledge(offset: number, by: string, isLate = false): number {
    if (offset < this.#acknowledged && !isLate) {
      throw new Violation(`${by} says ${offset} after ${this.#acknowledged} was acknowledged`);
    }
    if (offset > this.#plan.content.length) {
      throw new Violation(`${by} says ${offset} of ${this.#plan.content.length} bytes`);
    }
    this.#acknowledged = Math.max(this.#acknowledged, offset);
    return offset;
  }

  #expectRetry(outcome: Outcome, what: string): void {
    if (outcome.status === undefined || RETRIED.has(outcome.status)) return;
    throw new Violation(`${what} is answered ${describe(outcome)}`);
  }

  async #pause(): Promise<void> {
    await sleep(this.#random.skewedInt(0, 40));
  }

  #id(): string {
    return this.#url.slice(this.#url.lastIndexOf('/') + 1);
  }

  #log(what: string): void {
    this.#world.trace.add(this.#name, what);
  }
}

function offsetOf({ headers }: Outcome): number {
  const text = headers['upload-offset'];
  if (typeof text !== 'string' || !/^\d+$/.test(text)) throw new Violation(`Upload-Offset is ${text}`);
  return Number(text);
}

function describe({ status, headers, sentBytes, body }: Outcome): string {
  if (status === undefined) return `no answer (${sentBytes} bytes sent)`;
  const offset = headers['upload-offset'] === undefined ? '' : `, offset ${headers['upload-offset']}`;
  const code = headers['landfall-error'];
  return `${status}${offset}${code === undefined ? '' : `, ${code}: ${body.toString().trim()}`}`;
}

function describeFault(fault: Fault | undefined, byte: number, isAtByte: boolean): string {
  if (fault === undefined) return '';
  const when = isAtByte ? ` at byte ${byte}` : '';
  return ` [${fault.kind}${'how' in fault ? ` by ${fault.how}` : ''}${when}]`;
}

function firstDifference(actual: Buffer, expected: Buffer): string {
  const length = Math.min(actual.length, expected.length);
  let at = 0;
  while (at < length && actual[at] === expected[at]) at++;
  return `byte ${at} differs (${actual.length} bytes, ${expected.length} expected)`;
}
