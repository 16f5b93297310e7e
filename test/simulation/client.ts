import { Readable } from 'node:stream';
import type { SimulatedAnswer, SimulatedServer } from './server.ts';
import type { World } from './world.ts';

/** A client that uploads one content, resumes after every trouble, and remembers what it was promised. */
export class SimulatedClient {
  readonly id: string;
  readonly content: Buffer;
  isDone = false;
  isDeleted = false;
  isExpired = false;
  /** Called at the moment at which the client learns that all of its bytes are there. */
  onTold: () => void = () => undefined;
  readonly #world: World;
  readonly #servers: readonly SimulatedServer[];
  readonly #isDeferred: boolean;
  #acknowledged = 0;
  #promisedUntilMs: number;
  #requests = 0;

  constructor(id: string, content: Buffer, world: World, servers: readonly SimulatedServer[]) {
    this.id = id;
    this.content = content;
    this.#world = world;
    this.#servers = servers;
    this.#isDeferred = world.weather.deferredLength;
    this.#promisedUntilMs = world.expirationMs;
  }

  async run(): Promise<void> {
    const { scheduler, weather } = this.#world;
    const deleteAtMs = weather.deletes ? 100 + scheduler.below(800) : Number.POSITIVE_INFINITY;
    let idleAtMs = weather.expires && scheduler.chance(0.5) ? scheduler.below(500) : Number.POSITIVE_INFINITY;
    const total = this.content.length;
    let offset = 0;
    let isKnown = true;
    let isLengthKnown = !this.#isDeferred;
    while (!this.isDone) {
      const nowMs = scheduler.nowMs;
      if (nowMs > 5000) return this.#world.violate('STUCK', `${this.id}: offset ${offset} of ${total}`);
      if (nowMs > deleteAtMs) {
        await this.#delete();
        if (this.isDeleted) return;
        continue;
      }
      if (nowMs > idleAtMs) {
        idleAtMs = Number.POSITIVE_INFINITY;
        await this.#sleep(this.#world.expirationMs - 60 + scheduler.below(120));
      }
      if (isKnown && (offset < total || !isLengthKnown)) {
        const length = Math.min(total - offset, 1 + scheduler.below(9));
        const isLast = offset + length === total;
        const declares = !isLengthKnown && isLast && (length === 0 || scheduler.chance(0.7));
        const answer = await this.#patch(offset, length, declares ? total : undefined);
        if (answer.status === 204) {
          if ((answer.offset ?? 0) > offset + length) {
            this.#world.violate('OVER', `204 offset ${answer.offset} > ${offset} + ${length}`);
          }
          offset = this.#acknowledge('204', answer);
          if (declares) isLengthKnown = true;
          this.isDone = offset === total && isLengthKnown;
        } else if (!this.#mayGoOn('PATCH', answer)) return;
        else isKnown = false;
        continue;
      }
      const answer = await this.#head();
      if (answer.status === 200) {
        offset = this.#acknowledge('HEAD', answer);
        isKnown = true;
        if (answer.length !== undefined) isLengthKnown = true;
        else if (isLengthKnown) this.#world.violate('LENGTH', 'a declared length was forgotten');
        this.isDone = offset === total && isLengthKnown;
      } else if (!this.#mayGoOn('HEAD', answer)) return;
      await this.#sleep(scheduler.below(weather.storm ? 4 : 20));
    }
    this.onTold();
    await this.#lookAgain();
  }

  /** What was finished stays, and stays finished. */
  async #lookAgain(): Promise<void> {
    for (let look = 0; look < 3; look += 1) {
      await this.#sleep(this.#world.scheduler.below(250));
      const answer = await this.#head();
      if (answer.status === 410) this.#world.violate('LOST', 'HEAD 410 after the upload was finished');
      if (answer.status === 200) this.#acknowledge('HEAD', answer);
    }
  }

  async #delete(): Promise<void> {
    const { scheduler } = this.#world;
    const answer = await this.#send('DELETE', (server) => server.delete(this.id));
    this.isDeleted = answer.status === 204 || answer.status === 410;
    for (let look = 0; this.isDeleted && look < 4; look += 1) {
      await this.#sleep(scheduler.below(200));
      const seen = await this.#head();
      if (seen.status === 200)
        this.#world.violate('REVIVED', `HEAD 200, offset ${seen.offset}, after DELETE`);
    }
    if (!this.isDeleted) await this.#sleep(scheduler.below(30));
  }

  #acknowledge(kind: string, answer: SimulatedAnswer): number {
    const offset = answer.offset ?? 0;
    if (offset < this.#acknowledged) {
      this.#world.violate('I1', `${kind} answered offset ${offset} after ${this.#acknowledged}`);
    }
    this.#acknowledged = offset;
    this.#promisedUntilMs = Math.max(this.#promisedUntilMs, answer.expiresAtMs ?? 0);
    return offset;
  }

  /** False: the upload is over. Gone without a reason, or called damaged, is a violation. */
  #mayGoOn(kind: string, answer: SimulatedAnswer): boolean {
    const { scheduler, weather } = this.#world;
    if (answer.status === 410) {
      this.isExpired = weather.expires && scheduler.nowMs > this.#promisedUntilMs - 10;
      if (!this.isExpired) this.#world.violate('LOST', `${kind} 410 with ${this.#acknowledged} acknowledged`);
      return false;
    }
    if (answer.status === 422) this.#world.violate('DAMAGED', `${kind} 422 for an honest client`);
    return answer.status !== 422;
  }

  #head(): Promise<SimulatedAnswer> {
    return this.#send('HEAD', (server) => server.head(this.id));
  }

  #patch(offset: number, length: number, declaredLength: number | undefined): Promise<SimulatedAnswer> {
    const { scheduler } = this.#world;
    const bytes = this.content.subarray(offset, offset + length);
    const body = new Readable({ read: () => undefined });
    body.on('error', () => undefined);
    const cutAt = this.#world.isFaulty() && scheduler.chance(0.35) ? scheduler.below(length + 1) : undefined;
    const bodyBytes = scheduler.chance(0.5) ? length : undefined;
    const what = `PATCH ${offset}+${length}${declaredLength === undefined ? '' : ` of ${declaredLength}`}`;
    return this.#send(
      what,
      (server) => server.patch(this.id, { offset, body, declaredLength, bodyBytes }),
      (server, isOpen, giveUp) => {
        const push = server.process.deliver((chunk: Buffer | null) => {
          if (!body.destroyed) body.push(chunk);
        });
        const cut = server.process.deliver(() => void body.destroy(new Error('aborted')));
        let sent = 0;
        const feed = () => {
          if (!isOpen()) return scheduler.at(scheduler.below(30), cut);
          if (cutAt !== undefined && sent >= cutAt) {
            this.#world.log(`client cuts ${what} after ${sent}`);
            scheduler.at(scheduler.below(30), cut);
            return giveUp();
          }
          if (sent === bytes.length) return push(null);
          const size = Math.min(1 + scheduler.below(4), (cutAt ?? bytes.length) - sent);
          push(Buffer.from(bytes.subarray(sent, sent + size)));
          sent += size;
          scheduler.at(1 + scheduler.below(4), feed);
        };
        scheduler.at(1, feed);
      },
    );
  }

  /** Sends to any process. Status 0: no answer came, because the client gave up or the process died. */
  #send(
    what: string,
    handle: (server: SimulatedServer) => Promise<SimulatedAnswer>,
    sendBody?: (server: SimulatedServer, isOpen: () => boolean, giveUp: () => void) => void,
  ): Promise<SimulatedAnswer> {
    const { scheduler, weather } = this.#world;
    const server = this.#servers[scheduler.below(this.#servers.length)] as SimulatedServer;
    const number = ++this.#requests;
    const label = `${this.id.slice(0, 8)} r${number} ${what}`;
    const patience =
      weather.storm && scheduler.chance(0.5) ? 10 + scheduler.below(60) : 80 + scheduler.below(300);
    return new Promise((resolve) => {
      let isOpen = true;
      const settle = (answer: SimulatedAnswer) => {
        if (!isOpen) return;
        isOpen = false;
        resolve(answer);
      };
      const giveUp = () => {
        if (isOpen) this.#world.log(`${label}: no answer`);
        settle({ status: 0 });
      };
      scheduler.at(patience, giveUp);
      scheduler.at(
        1,
        server.process.deliver(() => {
          this.#world.log(`${label} -> ${server.process.name}`);
          void handle(server).then((answer) => {
            this.#world.log(`${label} <- ${answer.status} ${answer.offset ?? ''}`);
            scheduler.at(1 + scheduler.below(3), () => settle(answer));
          });
        }),
      );
      sendBody?.(server, () => isOpen, giveUp);
    });
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => this.#world.scheduler.at(ms, () => resolve()));
  }
}
