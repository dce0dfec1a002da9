/**
 * The certificates of a virtual container host: a CA of its own, a server certificate for `--tls-cname`, and a client
 * certificate for the docker CLI (RFC 5280 profile; ECDSA P-256).
 */
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { isIP } from 'node:net';
import * as x509 from '@peculiar/x509';

// The library asks for the DOM type; Node has the same thing under another name.
x509.cryptoProvider.set(webcrypto as never);

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const YEARS = 10;

/** PEM texts. */
export interface CertificateSet {
  ca: string;
  caKey: string;
  serverCert: string;
  serverKey: string;
  clientCert: string;
  clientKey: string;
}

/**
 * Makes the certificates of a new virtual container host.
 * @param commonName host name or address clients will use
 * @param addresses further names and addresses the server answers at
 * @param organization subject organisation
 */
export async function makeCertificates(
  commonName: string,
  addresses: string[],
  organization: string,
): Promise<CertificateSet> {
  const now = new Date(Date.now() - 3_600_000);
  const until = new Date(now);
  until.setFullYear(until.getFullYear() + YEARS);
  const keys = () => webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
  const base = { notBefore: now, notAfter: until, signingAlgorithm: ALGORITHM };
  const caKeys = await keys();
  const caName = `CN=${quote(`${organization} CA`)},O=${quote(organization)}`;
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    ...base,
    serialNumber: serial(),
    name: caName,
    keys: caKeys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(caKeys.publicKey),
    ],
  });
  const issue = async (subject: string, usage: x509.ExtendedKeyUsage, names: string[]) => {
    const pair = await keys();
    const certificate = await x509.X509CertificateGenerator.create({
      ...base,
      serialNumber: serial(),
      subject,
      issuer: caName,
      publicKey: pair.publicKey,
      signingKey: caKeys.privateKey,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension([usage]),
        ...(names.length === 0
          ? []
          : [
              new x509.SubjectAlternativeNameExtension(
                names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value })),
              ),
            ]),
      ],
    });
    return { certificate: `${certificate.toString('pem')}\n`, key: await privateKeyPem(pair.privateKey) };
  };
  const server = await issue(`CN=${quote(commonName)},O=${quote(organization)}`, x509.ExtendedKeyUsage.serverAuth, [
    ...new Set([commonName, ...addresses]),
  ]);
  const client = await issue(
    `CN=${quote(`${commonName} client`)},O=${quote(organization)}`,
    x509.ExtendedKeyUsage.clientAuth,
    [],
  );
  return {
    ca: `${ca.toString('pem')}\n`,
    caKey: await privateKeyPem(caKeys.privateKey),
    serverCert: server.certificate,
    serverKey: server.key,
    clientCert: client.certificate,
    clientKey: client.key,
  };
}

async function privateKeyPem(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key));
  return `${x509.PemConverter.encode(der, 'PRIVATE KEY')}\n`;
}

/** A positive 127-bit serial number. */
function serial(): string {
  const bytes = webcrypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

/** A value of a distinguished name (RFC 4514). */
function quote(value: string): string {
  return value.replace(/[,+"\\<>;=#]/g, '\\$&');
}
