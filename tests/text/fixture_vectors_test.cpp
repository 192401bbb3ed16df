// Tokenises and detokenises the reference vectors: every id and every byte must be those of the reference program.
#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/tokenizer.hpp"
#include "tests/support/fixtures.hpp"

namespace {

using inlay::TokenId;
using Json = nlohmann::json;

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

// Boost evaluates messages of conditions that hold, too.
template <class T>
std::string Why(const inlay::Result<T>& result) {
  return result ? std::string() : std::string(result.error().Message().view());
}

// A file, its tokenizer and the memory that both view.
class Opened {
 public:
  static Opened Gguf(const std::filesystem::path& path) {
    Opened opened;
    opened.Load(path);
    auto index = opened.NewArena(inlay::GgufFile::IndexBytes(opened.Bytes()));
    auto file = inlay::GgufFile::Open(opened.Bytes(), index);
    BOOST_REQUIRE_MESSAGE(file, Why(file));
    auto bytes = inlay::Tokenizer::ArenaBytesFor(*file);
    BOOST_REQUIRE(bytes);
    auto arena = opened.NewArena(*bytes);
    auto tokenizer = inlay::Tokenizer::FromGguf(*file, arena);
    BOOST_REQUIRE_MESSAGE(tokenizer, Why(tokenizer));
    opened.tokenizer_ = std::make_unique<inlay::Tokenizer>(*tokenizer);
    return opened;
  }
  static Opened Llama2c(const std::filesystem::path& path, std::size_t vocab) {
    Opened opened;
    opened.Load(path);
    auto arena = opened.NewArena(inlay::Tokenizer::MaxArenaBytes(vocab));
    auto tokenizer = inlay::Tokenizer::FromLlama2c(opened.Bytes(), vocab, arena);
    BOOST_REQUIRE_MESSAGE(tokenizer, Why(tokenizer));
    opened.tokenizer_ = std::make_unique<inlay::Tokenizer>(*tokenizer);
    return opened;
  }

  const inlay::Tokenizer& operator*() const { return *tokenizer_; }
  const inlay::Tokenizer* operator->() const { return tokenizer_.get(); }

 private:
  void Load(const std::filesystem::path& path) { text_ = std::make_unique<std::string>(ReadFile(path)); }
  std::span<const std::byte> Bytes() const { return std::as_bytes(std::span(*text_)); }
  inlay::Arena NewArena(std::size_t bytes) {
    memory_.push_back(std::move(*inlay::OwnedBuffer::Create(bytes)));
    return *inlay::Arena::Create(memory_.back().bytes());
  }

  std::unique_ptr<std::string> text_;
  std::vector<inlay::OwnedBuffer> memory_;
  std::unique_ptr<inlay::Tokenizer> tokenizer_;
};

std::vector<TokenId> Encode(const inlay::Tokenizer& tokenizer, std::string_view text, bool add_special,
                            bool parse_special) {
  std::vector<std::byte> scratch(inlay::Tokenizer::EncodeScratchBytes(text.size()));
  std::vector<TokenId> ids(inlay::Tokenizer::MaxTokens(text.size()));
  const auto count = tokenizer.Encode(text, {.add_special = add_special, .parse_special = parse_special}, scratch, ids);
  BOOST_REQUIRE_MESSAGE(count, Why(count));
  ids.resize(*count);
  return ids;
}

std::string Detokenize(const inlay::Tokenizer& tokenizer, std::span<const TokenId> ids,
                       inlay::DetokenizeOptions options) {
  auto memory = *inlay::OwnedBuffer::Create(inlay::Detokenizer::MemoryBytes(tokenizer));
  auto arena = *inlay::Arena::Create(memory.bytes());
  auto detokenizer = *inlay::Detokenizer::Create(tokenizer, options, arena);
  std::string text;
  for (const TokenId id : ids) {
    const auto piece = detokenizer.Feed(id);
    BOOST_REQUIRE(piece);
    text += *piece;
  }
  text += detokenizer.Flush();
  return text;
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

void CheckVectors(const std::string& name) {
  const auto vocab_path = inlay_test::FixturePath("tokenizers/" + name + ".gguf");
  const auto vectors_path = inlay_test::FixturePath("tokenizers/" + name + ".json");
  if (vocab_path.empty() || vectors_path.empty()) return inlay_test::Skip(name);
  const Opened tokenizer = Opened::Gguf(vocab_path);

  const Json vectors = Json::parse(ReadFile(vectors_path));
  std::size_t equal = 0;
  for (const Json& vector : vectors) {
    const std::string text =
        vector.contains("text") ? vector["text"].get<std::string>() : FromBase64(vector["text_base64"]);
    const auto expected = vector["ids"].get<std::vector<TokenId>>();
    const auto ids = Encode(*tokenizer, text, vector["add_special"], vector["parse_special"]);
    const bool same_ids = ids == expected;
    BOOST_CHECK_MESSAGE(same_ids, name << " ids of " << vector["class"] << " " << vector.dump().substr(0, 500)
                                       << " became " << Json(ids).dump().substr(0, 500));
    const bool same_text =
        Detokenize(*tokenizer, expected, {.special = true, .leading_space = inlay::LeadingSpace::kStripFirst}) ==
            FromBase64(vector["detok_base64"]) &&
        DetokenizePlain(*tokenizer, expected) == FromBase64(vector["detok_plain_base64"]);
    BOOST_CHECK_MESSAGE(same_text, name << " text of " << vector.dump().substr(0, 500));
    equal += same_ids && same_text ? 1 : 0;
  }
  BOOST_TEST(equal == vectors.size());
  BOOST_TEST(equal > 700u);
  BOOST_TEST_MESSAGE(name << ": " << equal << " of " << vectors.size() << " vectors equal");
}

// Kinds, pieces and the end-of-generation set of a sample of tokens.
void CheckPieces(const std::string& name) {
  const auto vocab_path = inlay_test::FixturePath("tokenizers/" + name + ".gguf");
  const auto pieces_path = inlay_test::FixturePath("tokenizers/" + name + ".pieces.json");
  if (vocab_path.empty() || pieces_path.empty()) return inlay_test::Skip(name);
  const Opened tokenizer = Opened::Gguf(vocab_path);
  const Json facts = Json::parse(ReadFile(pieces_path));
  BOOST_TEST(tokenizer->size() == facts["n_vocab"].get<std::size_t>());
  BOOST_TEST(tokenizer->bos() == facts["bos"].get<TokenId>());
  BOOST_TEST(tokenizer->eos() == facts["eos"].get<TokenId>());
  BOOST_TEST(tokenizer->special().padding == facts["pad"].get<TokenId>());
  BOOST_TEST(tokenizer->special().separator == facts["sep"].get<TokenId>());
  BOOST_TEST(tokenizer->special().mask == facts["mask"].get<TokenId>());
  BOOST_TEST(tokenizer->add_bos() == facts["add_bos"].get<bool>());
  BOOST_TEST(tokenizer->add_eos() == facts["add_eos"].get<bool>());

  const struct {
    int reference;
    inlay::TokenAttributes ours;
  } kinds[] = {{1, inlay::kTokenUnknown},      {2, inlay::kTokenUnused},       {4, inlay::kTokenNormal},
               {8, inlay::kTokenControl},      {16, inlay::kTokenUserDefined}, {32, inlay::kTokenByte},
               {256, inlay::kTokenStripsRight}};
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
      BOOST_TEST(piece == FromBase64(token[special ? "piece_base64" : "piece_plain_base64"]), "token " << id);
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(text_fixture_vectors)

BOOST_AUTO_TEST_CASE(LlamaSpm) { CheckVectors("llama-spm"); }
BOOST_AUTO_TEST_CASE(Phi3) { CheckVectors("phi-3"); }
BOOST_AUTO_TEST_CASE(LlamaSpmPieces) { CheckPieces("llama-spm"); }
BOOST_AUTO_TEST_CASE(Phi3Pieces) { CheckPieces("phi-3"); }

BOOST_AUTO_TEST_CASE(OtherAlgorithmsAreRefusedByName) {
  bool any = false;
  for (const std::string name : {"gpt-2", "llama-bpe", "qwen2", "bert-bge"}) {
    const auto path = inlay_test::FixturePath("tokenizers/" + name + ".gguf");
    if (path.empty()) continue;
    any = true;
    const std::string file = ReadFile(path);
    const auto bytes = std::as_bytes(std::span(file));
    auto index_memory = *inlay::OwnedBuffer::Create(inlay::GgufFile::IndexBytes(bytes));
    auto index = *inlay::Arena::Create(index_memory.bytes());
    const auto gguf = inlay::GgufFile::Open(bytes, index);
    BOOST_REQUIRE(gguf);
    auto memory = *inlay::OwnedBuffer::Create(*inlay::Tokenizer::ArenaBytesFor(*gguf));
    auto arena = *inlay::Arena::Create(memory.bytes());
    const auto tokenizer = inlay::Tokenizer::FromGguf(*gguf, arena);
    BOOST_REQUIRE(!tokenizer);
    BOOST_TEST((tokenizer.error().code == inlay::ErrorCode::kUnsupported));
    BOOST_TEST(tokenizer.error().field.view() == "tokenizer.ggml.model");
    BOOST_TEST(tokenizer.error().detail.view().find(name == "bert-bge" ? "\"bert\"" : "\"gpt2\"") != std::string::npos);
  }
  if (!any) inlay_test::Skip("other algorithms");
}

// The model's own prompts and stories, by both files that describe its vocabulary.
BOOST_AUTO_TEST_CASE(Stories260K) {
  const auto expected_path = inlay_test::FixturePath("stories260K/expected.json");
  const auto gguf_path = inlay_test::FixturePath("stories260K/stories260K.gguf");
  const auto bin_path = inlay_test::FixturePath("stories260K/tok512.bin");
  if (expected_path.empty() || gguf_path.empty() || bin_path.empty()) return inlay_test::Skip("stories260K");
  const Opened gguf = Opened::Gguf(gguf_path);
  const Opened bin = Opened::Llama2c(bin_path, 512);
  BOOST_TEST(bin->EndsGeneration(1));
  BOOST_TEST(!gguf->EndsGeneration(1));
  BOOST_TEST(gguf->EndsGeneration(2));

  const Json stories = Json::parse(ReadFile(expected_path));
  BOOST_TEST(stories.size() >= 3u);
  for (const Json& story : stories) {
    const std::string prompt = story["prompt"];
    const auto prompt_ids = story["prompt_ids"].get<std::vector<TokenId>>();
    const auto ids = story["ids"].get<std::vector<TokenId>>();
    for (const Opened* tokenizer : {&gguf, &bin}) {
      BOOST_TEST(Encode(**tokenizer, prompt, true, false) == prompt_ids, boost::test_tools::per_element());
      // run.c's text: without the space that the first piece after BOS begins with, which is our default.
      BOOST_TEST(Detokenize(**tokenizer, ids, {}) == story["text"].get<std::string>());
    }
  }

  const Json story = Json::parse(ReadFile(inlay_test::FixturePath("stories260K/loglik.json")));
  const std::string text = ReadFile(inlay_test::FixturePath("stories260K/story.txt"));
  const auto ids = story["ids"].get<std::vector<TokenId>>();
  BOOST_TEST(Encode(*gguf, text, true, false) == ids, boost::test_tools::per_element());
  BOOST_TEST(Encode(*bin, text, true, false) == ids, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_SUITE_END()
