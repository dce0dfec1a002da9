/** An address, IPv4 or IPv6, with a port. */
export interface AddressPort {
  address: string;
  port: number;
}
