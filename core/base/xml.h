// Text inside XML 1.0.
#pragma once
#include <string>

namespace swy {

// `text` as it may stand between tags or inside a quoted attribute. A line feed and a tab become character references,
// so that attributes keep them; other control characters, which XML has no way to write, become '?'. Bytes above 0x7f
// pass as they are: the text is UTF-8.
std::string xml_escaped(const std::string& text);

}  // namespace swy
