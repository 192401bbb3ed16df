// Tokenises and detokenises the reference vectors: every id and every byte must be those of the reference program.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/text/clean_spaces.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/text/utf8.hpp"
#include "tests/support/fixtures.hpp"
#include "tests/text/small_vocab.hpp"

namespace {

using inlay::TokenId;
using inlay_test::Detokenize;
using inlay_test::Encode;
using inlay_test::OpenTokenizer;
using Json = nlohmann::json;

constexpr inlay::EncodeOptions kWithSpecial{.add_special = true, .parse_special = false};

std::string ReadFile(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string FromBase64(const std::string& text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char* at = c == '=' ? nullptr : std::strchr(digits, c);
    if (at == nullptr) break;
    bits = (bits << 6) | static_cast<std::uint32_t>(at - digits);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out.push_back(static_cast<char>((bits >> count) & 0xFF));
    }
  }
  return out;
}

std::vector<std::byte> FileBytes(const std::filesystem::path& path) {
  const std::string text = ReadFile(path);
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// What the reference calls detokenize(ids, remove_special = true, unparse_special = false).
std::string DetokenizePlain(const inlay::Tokenizer& tokenizer, std::span<const TokenId> ids) {
  auto leading_space = inlay::LeadingSpace::kStripFirst;
  if (!ids.empty() && ids.front() == tokenizer.bos() && tokenizer.add_bos()) {
    ids = ids.subspan(1);
    leading_space = inlay::LeadingSpace::kKeep;
  }
  if (!ids.empty() && ids.back() == tokenizer.eos() && tokenizer.add_eos()) ids = ids.first(ids.size() - 1);
  return Detokenize(tokenizer, ids, {.special = false, .leading_space = leading_space});
}

std::string CleanedUp(const inlay::Tokenizer& tokenizer, std::string text) {
  if (tokenizer.cleans_spaces()) text.resize(inlay::CleanSpaces(text));
  return text;
}

// `vocabulary`: the file with the pieces, where it is not the vectors' own; `pre` replaces the name of its pre-tokenizer.
OpenTokenizer OpenFixture(const std::string& vocabulary, const std::string& pre) {
  const auto path = inlay_test::FixturePath("tokenizers/" + vocabulary + ".gguf");
  std::string bytes = ReadFile(path);
  if (!pre.empty()) {
    const std::string key = "tokenizer.ggml.pre";
    const std::size_t at = bytes.find(key) + key.size() + 4;
    std::uint64_t size = 0;
    std::memcpy(&size, bytes.data() + at, 8);
    const std::uint64_t new_size = pre.size();
    bytes.replace(at + 8, size, pre);
    std::memcpy(bytes.data() + at, &new_size, 8);
  }
  const auto view = std::as_bytes(std::span(bytes));
  return OpenTokenizer::Gguf({view.begin(), view.end()});
}

// Bytes that are no valid UTF-8: the reference replaces them by U+FFFD where the vocabulary is one of mapped bytes or has
// tokens for bytes, we keep them.
bool KeepsInvalidBytes(const inlay::Tokenizer& tokenizer) {
  return tokenizer.model() == inlay::TokenizerModel::kBytePairEncoding;
}

void CheckVectors(const std::string& name, const std::string& vocabulary = "", const std::string& pre = "") {
  const std::string& file = vocabulary.empty() ? name : vocabulary;
  const auto vectors_path = inlay_test::FixturePath("tokenizers/" + name + ".json");
  if (vectors_path.empty() || inlay_test::FixturePath("tokenizers/" + file + ".gguf").empty()) {
    return inlay_test::Skip(name);
  }
  const OpenTokenizer tokenizer = OpenFixture(file, pre);
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());

  const Json vectors = Json::parse(ReadFile(vectors_path));
  std::size_t equal = 0;
  std::size_t kept = 0;
  for (const Json& vector : vectors) {
    if (vector.contains("error")) continue;
    const std::string text =
        vector.contains("text") ? vector["text"].get<std::string>() : FromBase64(vector["text_base64"]);
    const auto expected = vector["ids"].get<std::vector<TokenId>>();
    const auto ids =
        Encode(*tokenizer, text, {.add_special = vector["add_special"], .parse_special = vector["parse_special"]});
    if (KeepsInvalidBytes(*tokenizer) && !inlay::IsValidUtf8(text)) {
      const auto plain = Encode(*tokenizer, text, {.add_special = false, .parse_special = false});
      const auto user_defined = [&](TokenId id) {
        return (tokenizer->vocabulary().Attributes(id) & inlay::kTokenUserDefined) != 0;
      };
      // Some vocabularies have bytes that no text has as user-defined tokens, which come back as their spelling.
      if (std::none_of(plain.begin(), plain.end(), user_defined)) {
        BOOST_TEST(Detokenize(*tokenizer, plain, {.leading_space = inlay::LeadingSpace::kKeep}) == text);
      }
      ++kept;
      continue;
    }
    const bool same_ids = ids == expected;
    BOOST_CHECK_MESSAGE(same_ids, name << " ids of " << vector["class"] << " " << vector.dump().substr(0, 500)
                                       << " became " << Json(ids).dump().substr(0, 500));
    const bool same_text =
        CleanedUp(*tokenizer, Detokenize(*tokenizer, expected,
                                         {.special = true, .leading_space = inlay::LeadingSpace::kStripFirst})) ==
            FromBase64(vector["detok_base64"]) &&
        CleanedUp(*tokenizer, DetokenizePlain(*tokenizer, expected)) == FromBase64(vector["detok_plain_base64"]);
    BOOST_CHECK_MESSAGE(same_text, name << " text of " << vector.dump().substr(0, 500));
    equal += same_ids && same_text ? 1 : 0;
  }
  BOOST_TEST(equal + kept > 700u);
  BOOST_TEST(kept < 30u);
  BOOST_TEST_MESSAGE(name << ": " << equal << " of " << vectors.size() << " vectors equal, " << kept
                          << " of invalid UTF-8 kept as they are");
}

// Kinds, pieces and the end-of-generation set of a sample of tokens.
void CheckPieces(const std::string& name) {
  const auto vocab_path = inlay_test::FixturePath("tokenizers/" + name + ".gguf");
  const auto pieces_path = inlay_test::FixturePath("tokenizers/" + name + ".pieces.json");
  if (vocab_path.empty() || pieces_path.empty()) return inlay_test::Skip(name);
  const OpenTokenizer tokenizer = OpenTokenizer::Gguf(FileBytes(vocab_path));
  BOOST_REQUIRE_MESSAGE(tokenizer, tokenizer.Why());
  const Json facts = Json::parse(ReadFile(pieces_path));
  BOOST_TEST(tokenizer->size() == facts["n_vocab"].get<std::size_t>());
  BOOST_TEST(tokenizer->bos() == facts["bos"].get<TokenId>());
  BOOST_TEST(tokenizer->eos() == facts["eos"].get<TokenId>());
  BOOST_TEST(tokenizer->special().padding == facts["pad"].get<TokenId>());
  BOOST_TEST(tokenizer->special().separator == facts["sep"].get<TokenId>());
  BOOST_TEST(tokenizer->special().mask == facts["mask"].get<TokenId>());
  BOOST_TEST(tokenizer->add_bos() == facts["add_bos"].get<bool>());
  BOOST_TEST(tokenizer->add_eos() == facts["add_eos"].get<bool>());
  BOOST_TEST(tokenizer->add_separator() == facts["add_sep"].get<bool>());
  BOOST_TEST(tokenizer->special().eot == facts["eot"].get<TokenId>());

  const struct {
    int reference;
    inlay::TokenAttributes ours;
  } kinds[] = {{1, inlay::kTokenUnknown},       {2, inlay::kTokenUnused},       {4, inlay::kTokenNormal},
               {8, inlay::kTokenControl},       {16, inlay::kTokenUserDefined}, {32, inlay::kTokenByte},
               {256, inlay::kTokenStripsRight}, {128, inlay::kTokenStripsLeft}};
  for (const Json& token : facts["pieces"]) {
    const TokenId id = token["id"];
    const inlay::TokenAttributes attributes = tokenizer->vocabulary().Attributes(id);
    for (const auto& kind : kinds) {
      BOOST_TEST(((attributes & kind.ours) != 0) == ((token["attr"].get<int>() & kind.reference) != 0), "token " << id);
    }
    BOOST_TEST(tokenizer->EndsGeneration(id) == token["eog"].get<bool>());
    for (const bool special : {true, false}) {
      std::string piece(tokenizer->max_piece_bytes(), '\0');
      const auto size = tokenizer->Decode(id, piece, special);
      BOOST_REQUIRE(size);
      piece.resize(*size);
      // The reference has a message there for pieces that are plain text among mapped bytes.
      if (FromBase64(token["piece_base64"]).find("UNK_BYTE") != std::string::npos) continue;
      BOOST_TEST(piece == FromBase64(token[special ? "piece_base64" : "piece_plain_base64"]), "token " << id);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_fixture_vectors)

BOOST_AUTO_TEST_CASE(LlamaSpm) { CheckVectors("llama-spm"); }
BOOST_AUTO_TEST_CASE(Phi3) { CheckVectors("phi-3"); }
BOOST_AUTO_TEST_CASE(Gpt2) { CheckVectors("gpt-2"); }
BOOST_AUTO_TEST_CASE(LlamaBpe) { CheckVectors("llama-bpe"); }
BOOST_AUTO_TEST_CASE(Qwen2) { CheckVectors("qwen2"); }
BOOST_AUTO_TEST_CASE(Qwen35) { CheckVectors("qwen35", "qwen2", "qwen35"); }
BOOST_AUTO_TEST_CASE(DeepseekLlm) { CheckVectors("deepseek-llm"); }
BOOST_AUTO_TEST_CASE(DeepseekCoder) { CheckVectors("deepseek-coder"); }
BOOST_AUTO_TEST_CASE(CommandR) { CheckVectors("command-r"); }
BOOST_AUTO_TEST_CASE(Gemma4) { CheckVectors("gemma-4"); }
BOOST_AUTO_TEST_CASE(BertBge) { CheckVectors("bert-bge"); }
BOOST_AUTO_TEST_CASE(NomicBertMoe) { CheckVectors("nomic-bert-moe"); }

BOOST_AUTO_TEST_CASE(Pieces) {
  for (const std::string name : {"llama-spm", "phi-3", "gpt-2", "llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder",
                                 "command-r", "gemma-4", "bert-bge", "nomic-bert-moe"}) {
    BOOST_TEST_CONTEXT(name) { CheckPieces(name); }
  }
}

// The model's own prompts and stories, by both files that describe its vocabulary.
BOOST_AUTO_TEST_CASE(Stories260K) {
  const auto expected_path = inlay_test::FixturePath("stories260K/expected.json");
  const auto gguf_path = inlay_test::FixturePath("stories260K/stories260K.gguf");
  const auto bin_path = inlay_test::FixturePath("stories260K/tok512.bin");
  if (expected_path.empty() || gguf_path.empty() || bin_path.empty()) return inlay_test::Skip("stories260K");
  const OpenTokenizer gguf = OpenTokenizer::Gguf(FileBytes(gguf_path));
  const OpenTokenizer bin = OpenTokenizer::Llama2c(FileBytes(bin_path), 512);
  BOOST_REQUIRE_MESSAGE(gguf, gguf.Why());
  BOOST_REQUIRE_MESSAGE(bin, bin.Why());
  BOOST_TEST(bin->EndsGeneration(1));
  BOOST_TEST(!gguf->EndsGeneration(1));
  BOOST_TEST(gguf->EndsGeneration(2));

  const Json stories = Json::parse(ReadFile(expected_path));
  BOOST_TEST(stories.size() >= 3u);
  for (const Json& story : stories) {
    const std::string prompt = story["prompt"];
    const auto prompt_ids = story["prompt_ids"].get<std::vector<TokenId>>();
    const auto ids = story["ids"].get<std::vector<TokenId>>();
    for (const OpenTokenizer* tokenizer : {&gguf, &bin}) {
      BOOST_TEST(Encode(**tokenizer, prompt, kWithSpecial) == prompt_ids, boost::test_tools::per_element());
      // run.c's text: without the space that the first piece after BOS begins with, which is our default.
      BOOST_TEST(Detokenize(**tokenizer, ids, {}) == story["text"].get<std::string>());
    }
  }

  const Json story = Json::parse(ReadFile(inlay_test::FixturePath("stories260K/loglik.json")));
  const std::string text = ReadFile(inlay_test::FixturePath("stories260K/story.txt"));
  const auto ids = story["ids"].get<std::vector<TokenId>>();
  BOOST_TEST(Encode(*gguf, text, kWithSpecial) == ids, boost::test_tools::per_element());
  BOOST_TEST(Encode(*bin, text, kWithSpecial) == ids, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
