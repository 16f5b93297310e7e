/**
 * The reason code of the record of a direct upload while it is `receiving`: nothing that passes through this server
 * says when all of it has arrived, so the sweep asks the store.
 */
export const DIRECT_REASON = 'direct';
