/** SOAP 1.1 envelopes of vim25 (vSphere Web Services SDK, "SOAP messages"). */
import { internal, invalid, messageOf, unavailable } from '../common/errors.js';
import { decodeElement, decodeFields, encodeElement, encodeFields } from './codec.js';
import { operationInfo } from './table.js';
import type { ManagedObjectReference } from './types.generated.js';
import { child, escapeXml, parseXml, type XmlElement } from './xml.js';

const NAMESPACES =
  'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';

/** A vim25 fault as it appears in a SOAP fault's detail. */
export interface Fault {
  $type: string;
  [element: string]: unknown;
}

/** The content of a request's body element: `_this` and the arguments. */
export function encodeRequest(operation: string, target: ManagedObjectReference, args: object): string {
  const info = operationInfo(operation);
  if (info === undefined) throw internal(`operation ${operation} is not in the generated subset`);
  const self = `<_this type="${escapeXml(target.type)}">${escapeXml(target.value)}</_this>`;
  return self + encodeFields(info.args, args as Record<string, unknown>, operation);
}

/** An envelope around a body. */
export function envelope(body: string, header = ''): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope ${NAMESPACES}>${header === '' ? '' : `<soapenv:Header>${header}</soapenv:Header>`}<soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;
}

/** A request as the server sees it. */
export interface Request {
  operation: string;
  target: ManagedObjectReference;
  args: Record<string, unknown>;
  operationId: string | undefined;
}

/** Parses a request, strictly. The arguments of an unknown operation are empty. @throws invalid */
export function decodeRequest(text: string, maxElements?: number): Request {
  const root = parseXml(text, maxElements);
  const element = child(root, 'Body')?.children[0];
  if (element === undefined) throw invalid('the SOAP message has no body');
  const self = child(element, '_this');
  const info = operationInfo(element.name);
  return {
    operation: element.name,
    target: { type: self?.attributes.type ?? '', value: self?.text.trim() ?? '' },
    args: info === undefined ? {} : decodeFields(info.args, element, element.name, 'strict'),
    operationId: child(child(root, 'Header'), 'operationID')?.text,
  };
}

/** The envelope of a successful answer. */
export function encodeResponse(operation: string, result: unknown): string {
  const info = operationInfo(operation)?.result ?? null;
  let content = '';
  if (info !== null && result !== undefined && result !== null) {
    for (const one of info.array ? (result as unknown[]) : [result]) content += encodeElement(info, one, operation);
  }
  return envelope(`<${operation}Response xmlns="urn:vim25">${content}</${operation}Response>`);
}

/** The envelope of a fault; if `fault` is null, one without detail. */
export function encodeFault(message: string, fault: Fault | null): string {
  const detail =
    fault === null
      ? ''
      : `<detail>${encodeElement({ name: `${fault.$type}Fault`, type: 'anyType', array: false, optional: false, polymorphic: true }, fault, 'fault').replace(/^<(\w+)/, '<$1 xmlns="urn:vim25"')}</detail>`;
  return envelope(
    `<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>${escapeXml(message)}</faultstring>${detail}</soapenv:Fault>`,
  );
}

/** The content of an answer. */
export type Response = { kind: 'result'; value: unknown } | { kind: 'fault'; message: string; fault: Fault | null };

/** Parses the answer to `operation`. @throws unavailable for anything that is not one */
export function decodeResponse(operation: string, text: string): Response {
  try {
    return decodeBody(operation, child(parseXml(text), 'Body'));
  } catch (error) {
    throw unavailable(`the server's answer to ${operation} is not a vim25 response: ${messageOf(error)}`, error);
  }
}

function decodeBody(operation: string, body: XmlElement | undefined): Response {
  const fault = child(body, 'Fault');
  if (fault !== undefined) {
    return {
      kind: 'fault',
      message: child(fault, 'faultstring')?.text ?? 'unknown fault',
      fault: decodeDetail(child(fault, 'detail')?.children[0]),
    };
  }
  const answer = child(body, `${operation}Response`);
  if (answer === undefined) throw invalid(`no ${operation}Response in it`);
  const info = operationInfo(operation)?.result ?? null;
  if (info === null) return { kind: 'result', value: undefined };
  const values = answer.children
    .filter((one) => one.name === 'returnval')
    .map((one) => decodeElement(info, one, operation));
  return { kind: 'result', value: info.array ? values : values[0] };
}

function decodeDetail(element: XmlElement | undefined): Fault | null {
  if (element === undefined) return null;
  const type = element.xsiType ?? element.name.replace(/Fault$/, '');
  const declared = { name: 'detail', type: 'MethodFault', array: false, optional: false, polymorphic: true };
  const value = decodeElement(declared, { ...element, xsiType: type }, 'fault');
  return { ...(value as object), $type: type };
}
