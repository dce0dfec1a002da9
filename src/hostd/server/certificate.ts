/** hostd's own certificate: made once and kept, with its key, in the state directory. */
import 'reflect-metadata';
import { webcrypto, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';

// The library expects the DOM type; Node has the same thing under another name.
x509.cryptoProvider.set(webcrypto as never);
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** PEM texts and the SHA-1 thumbprint as vSphere prints it. */
export interface HostCertificate {
  cert: string;
  key: string;
  thumbprint: string;
}

/** Loads or makes the certificate. */
export async function hostCertificate(stateDir: string): Promise<HostCertificate> {
  const [certFile, keyFile] = [join(stateDir, 'hostd.crt'), join(stateDir, 'hostd.key')];
  try {
    const [cert, key] = await Promise.all([readFile(certFile, 'utf8'), readFile(keyFile, 'utf8')]);
    return { cert, key, thumbprint: new X509Certificate(cert).fingerprint };
  } catch {
    const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
    const made = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(8)))
        .toString('hex')
        .replace(/^./, '4'),
      name: `CN=${hostname()},O=Caisson`,
      notBefore: new Date(Date.now() - 3_600_000),
      notAfter: new Date(Date.now() + 10 * 365 * 86_400_000),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: 'dns', value: 'localhost' },
          { type: 'ip', value: '127.0.0.1' },
        ]),
      ],
    });
    const cert = `${made.toString('pem')}\n`;
    const key = `${x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY')}\n`;
    await writeFile(keyFile, key, { mode: 0o600 });
    await writeFile(certFile, cert, { mode: 0o644 });
    return { cert, key, thumbprint: new X509Certificate(cert).fingerprint };
  }
}
