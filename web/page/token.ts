const KEY = 'landfall:token';

/** The operator's token, for as long as the tab lives: in sessionStorage, never in a cookie or an address. */
export function readToken(): string | undefined {
  return sessionStorage.getItem(KEY) ?? undefined;
}

export function storeToken(text: string): void {
  const token = text.trim();
  if (token === '') sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}
