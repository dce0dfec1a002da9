/* See card.h; ../protocol/network-requests.ts and volume-requests.ts write what is read here. */
#include "card.h"

#include <stdlib.h>

struct card card_read(struct reader *r) {
  struct card card = {.name = read_string(r), .mac = read_string(r)};
  card.mtu = read_u32(r);
  card.address = read_string(r), card.prefix = read_u32(r), card.gateway = read_string(r);
  card.address6 = read_string(r), card.prefix6 = read_u32(r), card.gateway6 = read_string(r);
  card.dhcp = read_u8(r);
  card.sysctls = read_strings(r);
  card.filter = r->at, card.filter_length = (size_t)(r->end - r->at);
  r->at = r->end;
  return card;
}

void card_free(struct card *card) {
  free(card->name), free(card->mac), free(card->address), free(card->gateway), free(card->address6), free(card->gateway6);
  free_strings(card->sysctls);
}

struct hidden_card hidden_card_read(struct reader *r) {
  struct hidden_card card = {.index = read_u32(r), .mac = read_string(r), .address = read_string(r)};
  card.prefix = read_u32(r), card.mtu = read_u32(r);
  return card;
}

void hidden_card_free(struct hidden_card *card) { free(card->mac), free(card->address); }
