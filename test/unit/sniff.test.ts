import { describe, expect, test } from 'vitest';
import { isAlwaysRecognized, looksLikeText, SNIFFED_BYTES, sniffMediaType } from '../../processors/sniff.ts';
import { SAMPLES } from '../support/media-samples.ts';

describe('sniffMediaType', () => {
  test.each([
    ['png', 'image/png'],
    ['gif', 'image/gif'],
    ['jpeg', 'image/jpeg'],
    ['webp', 'image/webp'],
    ['avif', 'image/avif'],
    ['heic', 'image/heic'],
    ['svg', 'image/svg+xml'],
    ['pdf', 'application/pdf'],
    ['html', 'text/html'],
    ['mp4', 'video/mp4'],
    ['mov', 'video/quicktime'],
    ['webm', 'video/webm'],
    ['mp3', 'audio/mpeg'],
    ['ogg', 'audio/ogg'],
    ['wav', 'audio/wav'],
    ['docx', 'application/zip'],
    ['odt', 'application/vnd.oasis.opendocument.text'],
    ['doc', 'application/x-cfb'],
    ['gzip', 'application/gzip'],
    ['tar', 'application/x-tar'],
    ['elf', 'application/x-executable'],
    ['exe', 'application/vnd.microsoft.portable-executable'],
    ['csv', undefined],
  ] as const)('%s is %s', (name, type) => {
    expect(sniffMediaType(SAMPLES[name])).toBe(type);
  });

  test.each([
    ['<svg viewBox="0 0 1 1">', 'image/svg+xml'],
    ['\ufeff<svg>', 'image/svg+xml'],
    ['<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">', 'image/svg+xml'],
    ['<!doctype HTML>', 'text/html'],
    ['<HTML lang="en">', 'text/html'],
    ['<?php echo 1 ?><script>', 'text/html'],
    ['<?xml version="1.0"?><feed/>', 'text/xml'],
    ['<p align="center">A readme</p>', undefined],
    ['<svgx>', undefined],
    ['<!-- never closed <html>', undefined],
    ['ID3,name\n', undefined],
    ['BMW is a car', undefined],
    ['MZ is a country code', undefined],
    ['', undefined],
  ])('text that begins with %j is %s', (text, type) => {
    expect(sniffMediaType(Buffer.from(text))).toBe(type);
  });

  test('markup in UTF-16 is markup', () => {
    expect(sniffMediaType(Buffer.from('\ufeff<html>', 'utf16le'))).toBe('text/html');
    expect(sniffMediaType(Buffer.from('\ufeff<svg >', 'utf16le').swap16())).toBe('image/svg+xml');
  });

  test('no beginning of a file, however short, is a failure', () => {
    for (const sample of Object.values(SAMPLES)) {
      for (let length = 0; length <= sample.length; length++) {
        expect(() => sniffMediaType(sample.subarray(0, length))).not.toThrow();
      }
    }
  });

  test('an OpenDocument that lies about its entry is a ZIP', () => {
    const lie = Buffer.from(SAMPLES.odt);
    lie.writeUInt32LE(0xffffffff, 18);
    expect(sniffMediaType(lie)).toBe('application/zip');
  });

  test('only the first bytes are looked at', () => {
    const late = Buffer.concat([Buffer.alloc(SNIFFED_BYTES, ' '), Buffer.from('<html>')]);
    expect(sniffMediaType(late)).toBeUndefined();
  });
});

test('text has no control characters but its own', () => {
  for (const text of ['a\tb\r\nc\f', '', 'ü日本', '\x1b[1m'])
    expect(looksLikeText(Buffer.from(text))).toBe(true);
  for (const text of ['a\0b', '\x01', 'a\x0bb']) expect(looksLikeText(Buffer.from(text))).toBe(false);
  expect(looksLikeText(Buffer.from('\ufeffab', 'utf16le'))).toBe(true);
});

test('a type is insisted on only where every file of it is recognized', () => {
  for (const type of ['image/png', 'application/pdf', 'video/mp4'])
    expect(isAlwaysRecognized(type)).toBe(true);
  for (const type of ['audio/mpeg', 'text/html', 'image/svg+xml', 'text/csv', 'image/x-own']) {
    expect(isAlwaysRecognized(type)).toBe(false);
  }
});
