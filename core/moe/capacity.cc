#include "core/moe/capacity.h"

#include <cmath>

#include "core/base/error.h"

namespace swy::moe {

int32_t CapacityRule::of(int64_t tokens, int32_t experts) const {
  const double exact = static_cast<double>(tokens) * factor / experts;
  // nearbyint rounds half to even in the default rounding mode, which is what Python's round() does.
  auto c = static_cast<int64_t>(ceil ? std::ceil(exact) : std::nearbyint(exact));
  if (multiple_of > 1) c = (c + multiple_of - 1) / multiple_of * multiple_of;
  if (c < 1)
    usage_error("capacity factor ", factor, " gives ", experts, " experts no slot in a group of ", tokens,
                " tokens; raise the factor to at least ", static_cast<double>(experts) / static_cast<double>(tokens),
                ", route larger groups, or use fewer experts");
  return static_cast<int32_t>(c);
}

}  // namespace swy::moe
