import { expect, test } from 'vitest';
import { clientKey } from '../../server/policy/client-key.ts';

test('a client whose connection is reset before its request is handled has a key of its own', () => {
  // The socket of such a request has no remote address (found by a kill seed: handling it threw).
  const gone = clientKey({ ip: undefined, headers: {} });
  expect(gone).toMatch(/^[A-Za-z0-9_-]{22}$/);
  expect(gone).not.toBe(clientKey({ ip: '127.0.0.1', headers: {} }));
});
