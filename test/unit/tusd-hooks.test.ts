import { expect, test } from 'vitest';
import { changeReply, joinAnswers } from '../../server/tusd-hooks/change-reply.ts';
import { describeForHook, type KnownUpload, parseHookResponse } from '../../server/tusd-hooks/protocol.ts';

const UPLOAD: KnownUpload = {
  id: 'U'.repeat(32),
  size: 5,
  offset: 3,
  rawMetadata: undefined,
  concat: undefined,
  partialIds: undefined,
};

test('an upload whose metadata cannot be read is told of without', () => {
  const told = describeForHook({ ...UPLOAD, rawMetadata: 'no base64!,,' }, 3, null);
  expect(told).toMatchObject({ ID: UPLOAD.id, Size: 5, Offset: 3, MetaData: {} });
});

test('what a hook leaves out, and what Go writes in its place, changes nothing', () => {
  const nothing = parseHookResponse('{}');
  const zeros = parseHookResponse(
    JSON.stringify({
      HTTPResponse: { StatusCode: 0, Body: '', Header: null },
      RejectUpload: false,
      RejectTermination: false,
      ChangeFileInfo: { ID: '', MetaData: null, Storage: null },
      StopUpload: false,
    }),
  );
  expect(zeros).toEqual(nothing);
  expect(nothing.ChangeFileInfo).toEqual({ hasStorage: false });
});

test.each([
  '[]',
  'null',
  '"x"',
  '{"HTTPResponse":{"StatusCode":99}}',
  '{"HTTPResponse":{"StatusCode":"200"}}',
  '{"HTTPResponse":{"Header":{"a":1}}}',
  '{"StopUpload":1}',
  '{"ChangeFileInfo":{"ID":7}}',
])('an answer that makes no sense is an error: %s', (text) => {
  expect(() => parseHookResponse(text)).toThrow();
});

test('what a later hook sets counts, and the protocol stays as it is', () => {
  const answer = joinAnswers(
    { StatusCode: 201, Body: 'one', Header: { A: '1', B: '1' } },
    { Body: 'two', Header: { B: '2', 'Upload-Offset': '9', 'Content-Length': '1', 'X-Split': 'a\r\nb' } },
  );
  const reply = { status: 200, headers: { 'upload-offset': '5' }, body: '' };
  changeReply(reply, answer);
  expect(reply).toEqual({
    status: 201,
    headers: { 'upload-offset': '5', 'content-type': 'text/plain; charset=utf-8', a: '1', b: '2' },
    body: 'two',
  });
});

test('an answer without content stays without', () => {
  const reply = { status: 204, headers: {}, body: '' };
  changeReply(reply, { Body: 'stored', Header: {} });
  expect(reply).toEqual({ status: 204, headers: {}, body: '' });
});
