// Which spaces are taken out of whole texts.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <string>

#include "inlay/text/clean_spaces.hpp"

BOOST_AUTO_TEST_SUITE(text_clean_spaces)

BOOST_AUTO_TEST_CASE(Figures) {
  const struct {
    const char* from;
    const char* to;
  } cases[] = {
      {"", ""},
      {" ", " "},
      {"a", "a"},
      {" .", "."},
      {"a , b . c ! d ? e", "a, b. c! d? e"},
      {"a  .", "a ."},
      {"a ; b", "a ; b"},
      {"a ' b", "a'b"},
      {"a '", "a '"},
      {"it 's I 'm we 've you 're", "it's I'm we've you're"},
      {"he 'd we 'll can 't", "he 'd we 'll can 't"},
      {"a 'r", "a 'r"},
      {" ' ' ", "'' "},
      {"x . . .", "x..."},
  };
  for (const auto& c : cases) {
    std::string text = c.from;
    text.resize(inlay::CleanSpaces(text));
    BOOST_TEST(text == c.to);
  }
}

BOOST_AUTO_TEST_SUITE_END()
