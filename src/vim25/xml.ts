/** XML as vim25 uses it: elements with attributes and either text or children; only the local part of names counts. */
import { SaxesParser } from 'saxes';
import { invalid } from '../common/errors.js';

/** An element. Prefixes are dropped; `xsiType` is the local part of xsi:type. */
export interface XmlElement {
  name: string;
  /** Unprefixed attributes. */
  attributes: Record<string, string>;
  xsiType: string | undefined;
  children: XmlElement[];
  text: string;
}

/**
 * A disk's backing contains its parent's, and so on: an image with 125 layers is nested more than 130 deep, and the longest chain that is
 * read (256) about 270.
 */
const MAX_DEPTH = 300;
/** An element takes about 200 bytes of memory, however short its text, so this bounds what a small message can grow to. */
const MAX_ELEMENTS = 4_000_000;

const local = (name: string): string => {
  const colon = name.indexOf(':');
  return colon < 0 ? name : name.slice(colon + 1);
};

/**
 * Parses one document.
 * @throws invalid for text that is not well-formed XML, is nested deeper than 300, has over 4 million elements, or a document type
 * @param maxElements a lower limit, for messages from strangers
 */
export function parseXml(text: string, maxElements = MAX_ELEMENTS): XmlElement {
  const parser = new SaxesParser();
  const root: XmlElement = { name: '', attributes: {}, xsiType: undefined, children: [], text: '' };
  const stack: XmlElement[] = [root];
  let elements = 0;
  parser.on('error', (error) => {
    throw invalid(`malformed XML: ${error.message}`);
  });
  parser.on('doctype', () => {
    throw invalid('a document type is not allowed in a SOAP message');
  });
  parser.on('opentag', (tag) => {
    const element: XmlElement = { name: local(tag.name), attributes: {}, xsiType: undefined, children: [], text: '' };
    for (const [key, value] of Object.entries(tag.attributes)) {
      const text = String(value);
      if (!key.includes(':')) element.attributes[key] = text;
      else if (local(key) === 'type' && !key.startsWith('xmlns:')) element.xsiType = local(text);
    }
    stack[stack.length - 1]!.children.push(element);
    stack.push(element);
    elements += 1;
    if (elements > maxElements) throw invalid(`XML with more than ${maxElements} elements`);
    if (stack.length > MAX_DEPTH) throw invalid(`XML nested deeper than ${MAX_DEPTH}`);
  });
  const addText = (text: string): void => {
    stack[stack.length - 1]!.text += text;
  };
  parser.on('text', addText);
  parser.on('cdata', addText);
  parser.on('closetag', () => {
    stack.pop();
  });
  parser.write(text).close();
  const [document] = root.children;
  if (document === undefined) throw invalid('empty XML document');
  return document;
}

/** The first child of that name. */
export function child(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((one) => one.name === name);
}

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\r': '&#13;' };

/** Text for an element or attribute. Characters that XML 1.0 cannot hold become U+FFFD. */
export function escapeXml(text: string): string {
  return text
    .replace(/[&<>"\r]/g, (c) => ESCAPES[c]!)
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd');
}
