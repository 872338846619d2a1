// "Did you mean": known names ordered by how near they are to what was typed.
#pragma once
#include <string>
#include <vector>

namespace swy {

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b.
int edit_distance(const std::string& a, const std::string& b);
// `known`, nearest first (stable).
std::vector<std::string> nearest_first(const std::string& typed, std::vector<std::string> known);
// "; did you mean 'x'? known: x, y, z", or "; known: x, y, z" when nothing is near.
std::string suggestion(const std::string& typed, const std::vector<std::string>& known);

}  // namespace swy
