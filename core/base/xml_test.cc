#include "core/base/xml.h"

#include <gtest/gtest.h>

namespace swy {
namespace {

// Every markup character is replaced once (an ampersand that was there before is not taken for a reference), what a
// reader would fold into a space is kept as a reference, what XML 1.0 cannot hold is shown as missing, UTF-8 passes.
TEST(XmlEscaped, ByHand) {
  EXPECT_EQ(xml_escaped(""), "");
  EXPECT_EQ(xml_escaped("plain 'text' 1.5"), "plain 'text' 1.5");
  EXPECT_EQ(xml_escaped("a<b> & \"c\""), "a&lt;b&gt; &amp; &quot;c&quot;");
  EXPECT_EQ(xml_escaped("&amp;"), "&amp;amp;");
  EXPECT_EQ(xml_escaped("]]>"), "]]&gt;");
  EXPECT_EQ(xml_escaped("x\ny\tz"), "x&#10;y&#9;z");
  EXPECT_EQ(xml_escaped(std::string("\0\x1b[0m\r", 6)), "??[0m?");
  EXPECT_EQ(xml_escaped("± † ‡"), "± † ‡");
}

}  // namespace
}  // namespace swy
