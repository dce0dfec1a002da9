/* Fuzzes what a DHCP server sends: anybody on the container's network can. */
#include "world.h"
#include "../../../tether/guest/dhcp_packet.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  /* Memory of exactly this size, so that a read beyond it is noticed; and a packet that is for this card up to its options. */
  uint8_t *packet = malloc(size + 1);
  struct lease lease;
  static const unsigned char mac[6] = {0, 12, 41, 0, 0, 1};
  memcpy(packet, data, size);
  uint8_t kind = dhcp_read(packet, size, 0x01020304, mac, &lease);
  HOLDS(kind == 0 || (lease.prefix <= 32 && lease.seconds >= 10));
  free(packet);
  return 0;
}
