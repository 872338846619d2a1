// Planted patches: a synthetic image set whose best routing is known, so that a router can be checked without a
// download. Generated from a seed with integer pixel arithmetic: the same bytes from every compiler.
//
// Every patch shows a cluster z and a symbol s, both uniform and independent of the class:
//   z  the colour (bit b of z is the sign of pattern b: the mean of red, of green, of blue; from 9 clusters on also a
//      checkerboard in red, green, blue),
//   s  one of `classes` orthogonal Walsh patterns, equal in the three channels: the one-hot content vector u.
// A patch votes for class class_of[z][s]; the label of an image is the class with the most votes (a strict winner).
// class_of is a shuffled Latin square: for a given s every class is equally likely over z, and for a given z over s.
// So no function of the form f(z) + g(s), summed over patches, says anything about the label: one has to know z to
// read s. One small expert per cluster solves it with a linear map; a shared map must learn clusters x classes cases,
// and under random routing every expert must learn all maps.
#pragma once
#include <vector>

#include "data/dataset.h"

namespace swy::data {

// Share of the patches that vote for the label; the others vote at random. Low enough that a model that has
// learnt half of the clusters stays well below one that has learnt all (about 0.77 against 1 with 16 patches).
inline constexpr float kPlantedSignal = 0.3f;

// class_of[z * classes + s]
std::vector<int> planted_map(const PlantedOptions& options);
// Value of symbol pattern s (1 or -1) at pixel (y, x) of a patch.
int planted_pattern(int symbol, int y, int x, int patch);

// Throws Error (usage) for sizes that do not fit together. mean, std and sha256 are left to finish_dataset.
ImageDataset make_planted(const PlantedOptions& options);

}  // namespace swy::data
