// The "swy.ops/1" table (core/abi/ops.h) filled with the host's ops.
#pragma once
#include "core/abi/ops.h"

namespace swy::ops {

const swy_ops& table();

}  // namespace swy::ops
