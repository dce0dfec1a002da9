/**
 * The vSphere API (vim25) for servers: types, the schema's table, codec and envelopes. It loads nothing of the client, whose `soap` package
 * costs a process 100 ms and 25 MB.
 */
export { constant, typedValue } from './codec.js';
export { decodeRequest, encodeFault, encodeResponse, type Fault, type Request } from './soap-message.js';
export {
  enumValues,
  type FieldInfo,
  isSubtype,
  operationInfo,
  operationNames,
  propertyInfo,
  propertyNames,
  typeFamily,
  typeField,
  typeFields,
} from './table.js';
export type * from './types.generated.js';
export { describeService } from './wsdl.js';
export { escapeXml } from './xml.js';
