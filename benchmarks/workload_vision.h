// The configuration of the vision workload's model (workload_vision.cc).
#pragma once
#include "benchmarks/suite.h"
#include "core/model/vit.h"
#include "data/dataset.h"

namespace swy::bench {

// The ViT of a router for images of this shape. Throws Error (usage) naming the first value that cannot be.
model::VitConfig vit_config(const RouterEntry&, const data::ImageDataset&);

}  // namespace swy::bench
