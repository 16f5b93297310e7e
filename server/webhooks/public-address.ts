import { type LookupAddress, type LookupOptions, lookup as systemLookup } from 'node:dns';
import { isIP, type LookupFunction } from 'node:net';
import ipaddr from 'ipaddr.js';

/** Asks the system for all addresses of a name: `dns.lookup` with `all`. */
export type ResolveAddresses = (
  hostname: string,
  options: LookupOptions & { all: true },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/** Not our network's to reach: private, loopback, link-local, metadata service… */
export class PrivateAddressError extends Error {
  override readonly name = 'PrivateAddressError';
  readonly code = 'ERR_PRIVATE_ADDRESS';
}

/** Azure's metadata and DNS service has an address among the public ones. */
const PUBLIC_METADATA_ADDRESSES: readonly string[] = ['168.63.129.16'];

/** Whether an address is one of the public internet. */
export function isPublicAddress(address: string): boolean {
  if (isIP(address) === 0) return false;
  // `process` takes an IPv4 address out of ::ffff:0:0/96.
  const parsed = ipaddr.process(address);
  if (parsed instanceof ipaddr.IPv6 && parsed.match(ipaddr.IPv6.parse('64:ff9b::'), 96)) {
    // RFC 6052: an IPv4 address behind NAT64.
    return isPublicAddress(parsed.toByteArray().slice(12).join('.'));
  }
  return parsed.range() === 'unicast' && !PUBLIC_METADATA_ADDRESSES.includes(parsed.toString());
}

/**
 * For `lookup` of a connection: what the name resolves to at this moment, without the addresses that are not
 * public. The connection is made to one of these and not to another that the name may have a moment later.
 */
export function lookupPublic(resolve: ResolveAddresses = systemLookup): LookupFunction {
  return (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error !== null) return callback(error, '');
      const allowed = addresses.filter(({ address }) => isPublicAddress(address));
      const [first] = allowed;
      if (first === undefined) return callback(refuse(hostname), '');
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

/** No name is looked up where a URL has an address. @throws PrivateAddressError */
export function checkLiteralAddress(url: URL): void {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (isIP(host) !== 0 && !isPublicAddress(host)) throw refuse(url.hostname);
}

function refuse(host: string): PrivateAddressError {
  return new PrivateAddressError(`${host} is no public address (LANDFALL_WEBHOOK_ALLOW_PRIVATE).`);
}
