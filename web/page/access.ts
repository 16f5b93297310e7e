import { byId, setAttribute, setText } from './dom.ts';
import type { FeedState } from './feed.ts';
import { readToken, storeToken } from './token.ts';

const STATE_TEXTS: Record<FeedState, string> = {
  connecting: 'Connecting…',
  live: 'Live',
  lost: 'Connection lost, trying again…',
  token: 'Token needed',
  own: 'Your uploads only',
};

export interface Access {
  show(state: FeedState): void;
}

/** The badge that says how much this page may see, and the form for the token. */
export function createAccess(onToken: () => void): Access {
  const badge = byId('feed-state');
  const form = byId<HTMLFormElement>('token-form');
  const field = byId<HTMLInputElement>('token');
  const problem = byId('token-problem');
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    storeToken(field.value);
    onToken();
  });
  return {
    show(state) {
      setText(badge, STATE_TEXTS[state]);
      setAttribute(badge, 'data-state', state);
      setAttribute(form, 'hidden', state !== 'token');
      const isRefused = state === 'token' && readToken() !== undefined;
      setText(problem, isRefused ? 'The server does not take this token.' : '');
      setAttribute(field, 'aria-invalid', isRefused ? 'true' : undefined);
      if (state === 'live') field.value = '';
    },
  };
}
