import { type IncomingMessage, type ServerResponse, validateHeaderValue } from 'node:http';

/**
 * Sends an interim `104 (Upload Resumption Supported)` before the answer. False: it was not sent, and the client
 * hears of everything in the final answer only ("Since interim responses are optional").
 *
 * Node has `writeInformation` since 24.18. Before that it has no call for an interim answer of our choice, so the
 * lines go to the socket directly. That is right only while the socket is this answer's alone: nothing of it was
 * written, and no earlier answer of a pipelining client is still on its way (then Node has not assigned the socket).
 */
export function sendInterim(
  req: Pick<IncomingMessage, 'httpVersionMajor' | 'httpVersionMinor'>,
  res: ServerResponse,
  headers: Record<string, string>,
): boolean {
  // RFC 9110, 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client."
  if (req.httpVersionMajor === 1 && req.httpVersionMinor < 1) return false;
  if (res.headersSent || res.destroyed) return false;
  if (typeof res.writeInformation === 'function') {
    res.writeInformation(104, headers);
    return true;
  }
  const { socket } = res;
  if (socket === null || !socket.writable) return false;
  let head = 'HTTP/1.1 104 Upload Resumption Supported\r\n';
  for (const [name, value] of Object.entries(headers)) {
    validateHeaderValue(name, value);
    head += `${name}: ${value}\r\n`;
  }
  socket.write(`${head}\r\n`, 'latin1');
  return true;
}
