// What fuzz cases draw: option values out of a router's own table, and batches of odd shapes. All of it is a function
// of the seed, so a case that fails is run again by its seed alone.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/abi/router.h"
#include "core/base/philox.h"
#include "core/plugin/instance.h"

namespace swy::conform {

// A valid value for every option: now and then the ends of a range or the preset, else any; evenly over decades where
// the range spans more than two of them, every choice alike.
OptionText draw_options(const swy_router&, Random&);
// "k=2 noise=0.1"
std::string describe(const OptionText&);

// One site and one batch on it. Tokens lie sequence by sequence, sequences group by group.
struct DrawnShape {
  int32_t width = 0, experts = 0;        // D, E
  int32_t capacity = 0;                  // C of the largest group
  std::vector<int32_t> sequence_tokens;  // [B] at least 1
  std::vector<int32_t> group_sequences;  // [G] sequences of each group, at least 1
  std::vector<int32_t> group_capacity;   // [G] in proportion to its tokens, at least 1
  std::vector<uint8_t> mask;             // [T] 0 = padding; empty = no padding
  std::vector<int32_t> prompt_tokens;    // [B] the first tokens of a sequence, at least 1
  int32_t tasks = 1;
  std::vector<int32_t> sequence_task;             // [B] any of the tasks, not each of them must occur
  int32_t task_width = 0, instruction_width = 0;  // d_task, d_instruction
  int32_t spare_tokens = 0;                       // how many more the site allows than the batch brings
  int32_t vocabulary = 50;                        // token ids of the site

  int32_t tokens() const;
  int32_t sequences() const { return static_cast<int32_t>(sequence_tokens.size()); }
  int32_t groups() const { return static_cast<int32_t>(group_sequences.size()); }
  std::vector<int32_t> group_tokens() const;  // [G]
};

struct ShapeLimits {
  int32_t width = 48, experts = 12, groups = 4, group_sequences = 3, sequence_tokens = 20;
};

// Ragged groups, sizes of 1, capacities from 1 up to more than a group has, padding at the end, in between or all over.
DrawnShape draw_shape(Random&, const ShapeLimits& = {});
// The site that such batches come to.
swy_site site_of(const DrawnShape&, int32_t kind = SWY_SITE_FFN);
// "D=8 E=3 C=2 groups=[4+1|7] padding=3 tasks=2"; a group is the sum of its sequences.
std::string describe(const DrawnShape&);

}  // namespace swy::conform
