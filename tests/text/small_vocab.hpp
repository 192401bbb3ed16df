// Vocabularies made on the spot: a small one that has every kind of token, and the files that hold one.
#ifndef INLAY_TESTS_TEXT_SMALL_VOCAB_HPP_
#define INLAY_TESTS_TEXT_SMALL_VOCAB_HPP_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/test/unit_test.hpp>

#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/tokenizer.hpp"
#include "tests/support/gguf_bytes.hpp"

namespace inlay_test {

// GGUF's numbers for tokenizer.ggml.token_type.
enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

struct TestToken {
  std::string piece;
  float score = 0;
  std::int32_t type = kNormal;
};
using TestTokens = std::vector<TestToken>;

inline std::string BytePiece(int byte) {
  char text[8];
  std::snprintf(text, sizeof(text), "<0x%02X>", static_cast<unsigned>(byte));
  return text;
}

// Unknown, begin, end, then the 256 bytes: the start of every vocabulary of this kind.
inline TestTokens TokensWithBytes() {
  TestTokens tokens = {{"<unk>", 0, kUnknown}, {"<s>", 0, kControl}, {"</s>", 0, kControl}};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back({BytePiece(byte), 0, kByte});
  return tokens;
}

// 259 "▁", 260.. the letters a to h, then merges of them, then one of each other kind.
inline TestTokens SmallTokens() {
  TestTokens tokens = TokensWithBytes();
  for (const char* piece : {"\xE2\x96\x81", "a", "b", "c", "d", "e", "f", "g", "h", "<", ">", "/", "s", "\xC3\xA9"}) {
    tokens.push_back({piece, -100, kNormal});
  }
  float score = -1;
  for (const char* piece : {"\xE2\x96\x81"
                            "a",
                            "ab", "bc", "abc",
                            "\xE2\x96\x81"
                            "abc",
                            "de", "fg", "defg", "aa", "aaaa", "aaaaaaaa", "\xE2\x96\x81\xE2\x96\x81", "</", "s>", "<s",
                            "\xC3\xA9"
                            "a"}) {
    tokens.push_back({piece, score, kNormal});
    score -= 1;
  }
  tokens.push_back({"[x]", 0, kUserDefined});
  tokens.push_back({"[x][y]", 0, kUserDefined});
  tokens.push_back({"<|end|>", 0, kControl});
  tokens.push_back({"<|", 0, kControl});
  tokens.push_back({"[unused]", 0, kUnused});
  return tokens;
}

// The number of the token with this piece.
inline inlay::TokenId IdOf(const TestTokens& tokens, std::string_view piece) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].piece == piece) return static_cast<inlay::TokenId>(i);
  }
  return inlay::kNoToken;
}

// A GGUF file with this vocabulary and nothing else; `extra` adds `extra_count` more metadata entries.
struct VocabFile {
  TestTokens tokens = SmallTokens();
  std::string model = "llama";
  bool with_scores = true;
  bool with_types = true;
  std::vector<std::string> merges;  // none: no such key
  Bytes extra;
  std::uint64_t extra_count = 0;

  VocabFile& Id(std::string_view key, std::uint32_t id) {
    extra.Key(key, inlay::GgufType::kU32).U32(id);
    ++extra_count;
    return *this;
  }
  VocabFile& Flag(std::string_view key, bool flag) {
    extra.Key(key, inlay::GgufType::kBool).U8(flag ? 1 : 0);
    ++extra_count;
    return *this;
  }
  VocabFile& Text(std::string_view key, std::string_view text) {
    extra.Key(key, inlay::GgufType::kString).String(text);
    ++extra_count;
    return *this;
  }

  Bytes Build() const {
    Bytes bytes;
    bytes.Header(0, 2 + (with_scores ? 1u : 0u) + (with_types ? 1u : 0u) + (merges.empty() ? 0u : 1u) +
                        extra_count);
    bytes.Key("tokenizer.ggml.model", inlay::GgufType::kString).String(model);
    bytes.Key("tokenizer.ggml.tokens", inlay::GgufType::kArray).Type(inlay::GgufType::kString).U64(tokens.size());
    for (const TestToken& token : tokens) bytes.String(token.piece);
    if (with_scores) {
      bytes.Key("tokenizer.ggml.scores", inlay::GgufType::kArray).Type(inlay::GgufType::kF32).U64(tokens.size());
      for (const TestToken& token : tokens) bytes.F32(token.score);
    }
    if (with_types) {
      bytes.Key("tokenizer.ggml.token_type", inlay::GgufType::kArray).Type(inlay::GgufType::kI32).U64(tokens.size());
      for (const TestToken& token : tokens) bytes.Number(token.type);
    }
    if (!merges.empty()) {
      bytes.Key("tokenizer.ggml.merges", inlay::GgufType::kArray).Type(inlay::GgufType::kString).U64(merges.size());
      for (const std::string& merge : merges) bytes.String(merge);
    }
    for (const std::byte b : extra.bytes()) bytes.Number(b);
    return bytes;
  }
};

// llama2.c's tokenizer.bin.
inline Bytes Llama2cBytes(const TestTokens& tokens) {
  Bytes bytes;
  std::size_t longest = 1;
  for (const TestToken& token : tokens) longest = std::max(longest, token.piece.size());
  bytes.U32(static_cast<std::uint32_t>(longest));
  for (const TestToken& token : tokens) {
    bytes.F32(token.score).U32(static_cast<std::uint32_t>(token.piece.size())).Raw(token.piece);
  }
  return bytes;
}

// A tokenizer (or the error that opening it gave) with everything it views.
class OpenTokenizer {
 public:
  static OpenTokenizer Gguf(std::vector<std::byte> bytes) {
    OpenTokenizer opened(std::move(bytes));
    auto index = opened.NewArena(inlay::GgufFile::IndexBytes(*opened.bytes_));
    const auto file = inlay::GgufFile::Open(*opened.bytes_, index);
    if (!file) {
      opened.result_.emplace(file.error());
      return opened;
    }
    const auto needed = inlay::Tokenizer::ArenaBytesFor(*file);
    if (!needed) {
      opened.result_.emplace(needed.error());
      return opened;
    }
    auto arena = opened.NewArena(*needed);
    opened.result_.emplace(inlay::Tokenizer::FromGguf(*file, arena));
    return opened;
  }
  static OpenTokenizer Gguf(const VocabFile& file) { return Gguf(file.Build().bytes()); }
  static OpenTokenizer Llama2c(std::vector<std::byte> bytes, std::size_t vocab) {
    OpenTokenizer opened(std::move(bytes));
    auto arena = opened.NewArena(inlay::Tokenizer::MaxArenaBytes(vocab));
    opened.result_.emplace(inlay::Tokenizer::FromLlama2c(*opened.bytes_, vocab, arena));
    return opened;
  }

  explicit operator bool() const { return result_->has_value(); }
  const inlay::Tokenizer& operator*() const { return **result_; }
  const inlay::Tokenizer* operator->() const { return &**result_; }
  const inlay::Error& error() const { return result_->error(); }
  // The error's sentence, or nothing: for the messages of checks, which are put together in any case.
  std::string Why() const { return *this ? std::string() : std::string(error().Message().view()); }

 private:
  explicit OpenTokenizer(std::vector<std::byte> bytes)
      : bytes_(std::make_unique<std::vector<std::byte>>(std::move(bytes))) {}
  inlay::Arena NewArena(std::size_t bytes) {
    memory_.push_back(std::move(*inlay::OwnedBuffer::Create(bytes)));
    return *inlay::Arena::Create(memory_.back().bytes());
  }

  std::unique_ptr<std::vector<std::byte>> bytes_;
  std::vector<inlay::OwnedBuffer> memory_;
  std::optional<inlay::Result<inlay::Tokenizer>> result_;
};

using TokenIds = std::vector<inlay::TokenId>;

inline TokenIds Encode(const inlay::Tokenizer& tokenizer, std::string_view text, inlay::EncodeOptions options) {
  std::vector<std::byte> scratch(tokenizer.EncodeScratchBytes(text.size()));
  TokenIds ids(tokenizer.MaxTokens(text.size()));
  const auto count = tokenizer.Encode(text, options, scratch, ids);
  BOOST_REQUIRE_MESSAGE(count, (count ? std::string() : std::string(count.error().Message().view())));
  ids.resize(*count);
  return ids;
}
// The text alone.
inline TokenIds Encode(const inlay::Tokenizer& tokenizer, std::string_view text) {
  return Encode(tokenizer, text, {.add_special = false, .parse_special = false});
}

inline std::string Detokenize(const inlay::Tokenizer& tokenizer, std::span<const inlay::TokenId> ids,
                              inlay::DetokenizeOptions options) {
  auto memory = *inlay::OwnedBuffer::Create(inlay::Detokenizer::MemoryBytes(tokenizer));
  auto arena = *inlay::Arena::Create(memory.bytes());
  auto detokenizer = *inlay::Detokenizer::Create(tokenizer, options, arena);
  std::string text;
  for (const inlay::TokenId id : ids) {
    const auto piece = detokenizer.Feed(id);
    BOOST_REQUIRE(piece);
    text += *piece;
  }
  text += detokenizer.Flush();
  return text;
}

}  // namespace inlay_test

#endif  // INLAY_TESTS_TEXT_SMALL_VOCAB_HPP_
