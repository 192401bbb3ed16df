// The tokens of a text of any size: the same ones whatever memory they were made in, and not more memory than the text
// calls for.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <string>
#include <vector>

#include "inlay/host/text_generator.hpp"
#include "tests/support/allocation_counter.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using namespace inlay_test;
using inlay::TokenId;

std::vector<TokenId> Expected(const inlay::Tokenizer& tokenizer, const std::string& text) {
  std::vector<std::byte> scratch(tokenizer.EncodeScratchBytes(text.size()));
  std::vector<TokenId> ids(tokenizer.MaxTokens(text.size()));
  ids.resize(tokenizer.Encode(text, {}, scratch, ids).value_or(0));
  return ids;
}

BOOST_AUTO_TEST_SUITE(host_encoded_text)

BOOST_AUTO_TEST_CASE(words_of_any_length) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  for (const std::size_t length : {0u, 1u, 900u, 1000u, 8000u, 100000u}) {
    std::string text = "ab ";
    for (std::size_t i = 0; i < length; ++i) text += static_cast<char>('a' + i * i % 5);
    text += " abc";
    const auto encoded = inlay::EncodedText::Create(*tokenizer, text);
    BOOST_REQUIRE(encoded.has_value());
    const std::vector<TokenId> expected = Expected(*tokenizer, text);
    BOOST_TEST(std::vector<TokenId>(encoded->tokens().begin(), encoded->tokens().end()) == expected,
               boost::test_tools::per_element());
    BOOST_TEST(expected.size() > 1u);
  }
}

// Bad input 32: a large text takes memory in proportion, not the worst case of every byte in one word.
BOOST_AUTO_TEST_CASE(memory_follows_the_text) {
  const VocabFile file;
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  std::string text;
  while (text.size() < (4u << 20)) text += "abc defg ab ";
  const AllocationScope scope;
  const auto encoded = inlay::EncodedText::Create(*tokenizer, text);
  const AllocationCounts counts = scope.counts();
  BOOST_REQUIRE(encoded.has_value());
  BOOST_TEST(encoded->tokens().size() > text.size() / 6);
  BOOST_TEST(counts.bytes < 9 * text.size());
}

// What no memory would mend.
BOOST_AUTO_TEST_CASE(errors) {
  VocabFile file;
  file.tokens = {{"a", -1, kNormal}};  // neither bytes nor an unknown token
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const auto encoded = inlay::EncodedText::Create(*tokenizer, "aab", {.add_special = false});
  BOOST_REQUIRE(!encoded.has_value());
  BOOST_TEST((encoded.error().code == inlay::ErrorCode::kMissing));
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
