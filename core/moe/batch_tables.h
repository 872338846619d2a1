// The tables of one call to a router as functions of a place: all sequences of a call are equally long, so no table has
// to be read to know another. The host writes them out with these and so does a device; one text for both.
// B sequences of S tokens, groups of n sequences.
#pragma once
#include <cstdint>

#include "core/base/host_device.h"

namespace swy::moe {

struct BatchTables {
  int32_t sequences, sequence_tokens, group_sequences;
  int32_t full_capacity, last_capacity;  // of a group of n sequences, and of the last one, which may have fewer
  int32_t row_tokens = 0;                // most tokens of a PREFIX row; 0 = no such rows

  SWY_HOST_DEVICE int32_t tokens() const { return sequences * sequence_tokens; }
  SWY_HOST_DEVICE int32_t groups() const { return (sequences + group_sequences - 1) / group_sequences; }
  SWY_HOST_DEVICE int32_t position(int32_t t) const { return t % sequence_tokens; }  // in its sequence, from 0
  SWY_HOST_DEVICE int32_t sequence_begin(int32_t b) const { return b * sequence_tokens; }
  SWY_HOST_DEVICE int32_t group_begin(int32_t g) const {
    const int32_t begin = g * group_sequences;
    return (begin < sequences ? begin : sequences) * sequence_tokens;
  }
  SWY_HOST_DEVICE int32_t group_capacity(int32_t g) const { return g + 1 < groups() ? full_capacity : last_capacity; }
  // PREFIX rows: every sequence in pieces of row_tokens, the last one shorter.
  SWY_HOST_DEVICE int32_t rows_per_sequence() const { return (sequence_tokens + row_tokens - 1) / row_tokens; }
  SWY_HOST_DEVICE int32_t rows() const { return row_tokens ? sequences * rows_per_sequence() : 0; }
  SWY_HOST_DEVICE int32_t row_begin(int32_t r) const {
    return r / rows_per_sequence() * sequence_tokens + r % rows_per_sequence() * row_tokens;
  }
  SWY_HOST_DEVICE int32_t row_previous(int32_t r) const { return r % rows_per_sequence() ? r - 1 : -1; }
};

}  // namespace swy::moe
