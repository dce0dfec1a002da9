/**
 * The WSDL of the subset's operations, made from the generated table, for the `soap` package. Messages are left open (`xsd:any`): the table
 * describes their content and the codec writes and reads it, so that the schema of some 2,000 types need not be loaded (which takes half a
 * second and 60 MB).
 */
import { operationNames } from './table.js';

/** WSDL 1.1, document/literal. `address` is where the service is. */
export function describeService(address: string): string {
  const each = (part: (name: string) => string): string => operationNames().map(part).join('');
  const open = '<xsd:complexType><xsd:sequence><xsd:any/></xsd:sequence></xsd:complexType>';
  return `<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/"
    xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:vim25="urn:vim25" targetNamespace="urn:vim25">
  <types><xsd:schema targetNamespace="urn:vim25" elementFormDefault="qualified">
    ${each((name) => `<xsd:element name="${name}">${open}</xsd:element><xsd:element name="${name}Response">${open}</xsd:element>`)}
  </xsd:schema></types>
  ${each(
    (name) =>
      `<message name="${name}RequestMsg"><part name="parameters" element="vim25:${name}"/></message>` +
      `<message name="${name}ResponseMsg"><part name="parameters" element="vim25:${name}Response"/></message>`,
  )}
  <portType name="VimPortType">
    ${each((name) => `<operation name="${name}"><input message="vim25:${name}RequestMsg"/><output message="vim25:${name}ResponseMsg"/></operation>`)}
  </portType>
  <binding name="VimBinding" type="vim25:VimPortType">
    <soap:binding style="document" transport="http://schemas.xmlsoap.org/soap/http"/>
    ${each(
      (name) =>
        `<operation name="${name}"><soap:operation soapAction="urn:vim25/6.7" style="document"/>` +
        '<input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation>',
    )}
  </binding>
  <service name="VimService"><port name="VimPort" binding="vim25:VimBinding"><soap:address location="${address}"/></port></service>
</definitions>`;
}
