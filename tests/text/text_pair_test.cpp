// Pairs of texts: the tokens around and between them, and forms in words.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inlay/text/text_pair.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using inlay::PairForm;
using inlay::TextPair;
using inlay_test::BytePairFile;
using inlay_test::Encode;
using inlay_test::IdOf;
using inlay_test::OpenTokenizer;
using inlay_test::SmallTokens;
using inlay_test::TokenIds;
using inlay_test::VocabFile;

// With exactly the promised memory.
TokenIds EncodePair(const PairForm& form, const TextPair& pair) {
  std::vector<std::byte> scratch(form.ScratchBytes(pair));
  TokenIds ids(form.MaxTokens(pair));
  const auto count = form.Encode(pair, scratch, ids);
  BOOST_REQUIRE_MESSAGE(count, (count ? std::string() : std::string(count.error().Message().view())));
  ids.resize(*count);
  return ids;
}

TokenIds Joined(const std::vector<TokenIds>& parts) {
  TokenIds all;
  for (const TokenIds& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

BOOST_AUTO_TEST_SUITE(text_text_pair)

BOOST_AUTO_TEST_CASE(TokensAroundAndBetween) {
  const auto open = [](bool bos, bool eos, bool separator) {
    VocabFile file;
    file.Flag("tokenizer.ggml.add_bos_token", bos).Flag("tokenizer.ggml.add_eos_token", eos);
    file.Id("tokenizer.ggml.seperator_token_id", static_cast<std::uint32_t>(IdOf(SmallTokens(), "[unused]")));
    return OpenTokenizer::Gguf(file.Flag("tokenizer.ggml.add_sep_token", separator));
  };
  const TokenIds begin = {1}, end = {2}, separator = {IdOf(SmallTokens(), "[unused]")};
  for (const TextPair& pair : {TextPair{"abc", "de fg"}, TextPair{"a", ""}, TextPair{"", "abcde"}}) {
    OpenTokenizer tokenizer = open(true, true, true);
    const TokenIds query = Encode(*tokenizer, pair.query), document = Encode(*tokenizer, pair.document);
    BOOST_TEST(EncodePair(PairForm(*tokenizer), pair) == Joined({begin, query, end, separator, document, end}));
    tokenizer = open(true, true, false);
    BOOST_TEST(EncodePair(PairForm(*tokenizer), pair) == Joined({begin, query, end, document, end}));
    tokenizer = open(true, false, true);
    BOOST_TEST(EncodePair(PairForm(*tokenizer), pair) == Joined({begin, query, separator, document}));
    tokenizer = open(false, false, false);
    BOOST_TEST(EncodePair(PairForm(*tokenizer), pair) == Joined({query, document}));
  }
}

// BERT's: one separator behind each text.
BOOST_AUTO_TEST_CASE(SeparatorsBehindTexts) {
  VocabFile file;
  file.model = "bert";
  file.with_scores = false;
  file.tokens = {{"[UNK]", 0, inlay_test::kControl}, {"[CLS]", 0, inlay_test::kControl}, {"[SEP]", 0, inlay_test::kControl},
                 {"\xE2\x96\x81" "a"}, {"\xE2\x96\x81" "b"}};
  file.Id("tokenizer.ggml.unknown_token_id", 0).Id("tokenizer.ggml.cls_token_id", 1).Id("tokenizer.ggml.seperator_token_id", 2);
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(file);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  BOOST_TEST(EncodePair(PairForm(*tokenizer), {"a b", "b"}) == (TokenIds{1, 3, 4, 2, 4, 2}));
  // Control tokens in the texts are text.
  BOOST_TEST(EncodePair(PairForm(*tokenizer), {"a", "[SEP]"}) == (TokenIds{1, 3, 2, 0, 0, 0, 2}));
}

// The form's control tokens are read; where the texts touch its words, they are cut together.
BOOST_AUTO_TEST_CASE(FormsInWords) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(BytePairFile({{" ", "a"}, {" a", "b"}, {":", "\n"}}, "gpt-2"));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const inlay::TokenId end = IdOf(BytePairFile({{" ", "a"}, {" a", "b"}, {":", "\n"}}, "gpt-2").tokens, "<|endoftext|>");
  const auto expect = [&](std::string_view form, const TextPair& pair, const std::vector<TokenIds>& parts) {
    BOOST_TEST(EncodePair(PairForm(*tokenizer, form), pair) == Joined(parts), form);
  };
  expect("<|endoftext|>q: {query}<|endoftext|>d: {document}<|endoftext|>", {"ab", "a\n"},
         {{end}, Encode(*tokenizer, "q: ab"), {end}, Encode(*tokenizer, "d: a\n"), {end}});
  BOOST_TEST((Encode(*tokenizer, "q: ab") != Joined({Encode(*tokenizer, "q: "), Encode(*tokenizer, "ab")})));
  expect("{document}{query}", {"q", "d"}, {Encode(*tokenizer, "dq")});
  expect("{query} {query}", {"ab", "x"}, {Encode(*tokenizer, "ab ab")});
  expect("no places", {"ab", "x"}, {Encode(*tokenizer, "no places")});
  expect("<|endoftext|>", {"ab", "x"}, {{end}});
  // Neither places nor control tokens are read in the texts.
  expect("{query}|{document}", {"{document}", "<|endoftext|>"}, {Encode(*tokenizer, "{document}|<|endoftext|>")});
  BOOST_TEST(EncodePair(PairForm(*tokenizer, "{query}"), {"<|endoftext|>", ""}).size() > 1u);
}

BOOST_AUTO_TEST_CASE(TooLittleMemory) {
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(VocabFile());
  const TextPair pair{"abc de", "fg"};
  for (const std::string_view form : {"", "a{query}<|end|>{document}"}) {
    const PairForm encoder(*tokenizer, form);
    const TokenIds whole = EncodePair(encoder, pair);
    std::vector<std::byte> scratch(encoder.ScratchBytes(pair));
    for (std::size_t room = 0; room < whole.size(); ++room) {
      TokenIds ids(room);
      const auto count = encoder.Encode(pair, scratch, ids);
      BOOST_REQUIRE(!count);
      BOOST_TEST((count.error().code == inlay::ErrorCode::kTooLarge));
    }
    TokenIds ids(encoder.MaxTokens(pair));
    const auto none = encoder.Encode(pair, {}, ids);
    BOOST_REQUIRE(!none);
    BOOST_TEST((none.error().code == inlay::ErrorCode::kOutOfMemory));
  }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
