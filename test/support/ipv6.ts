/** Whether this machine has IPv6. Without it, Docker leaves out everything that needs it, and so do we. */
import { networkInterfaces } from 'node:os';

export const hasIpv6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'));
