// Which keys lie beside each other on a QWERTY keyboard (US layout).
#pragma once
#include <cstdint>
#include <string>

namespace swy::data {

// The characters of the keys that touch the key of a letter or digit. For a capital only letters, as capitals: what
// shift makes of the other keys differs between layouts. Empty for a character without such a key.
const std::string& key_neighbours(uint32_t code_point);

}  // namespace swy::data
