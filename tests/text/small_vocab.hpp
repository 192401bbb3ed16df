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

#include <pthread.h>

#include <boost/test/unit_test.hpp>

#include "inlay/core/arena.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/byte_mapping.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/text/utf8.hpp"
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

// GPT-2's spelling of bytes.
inline std::string Mapped(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) {
    char character[4];
    text.append(character, inlay::EncodeUtf8(inlay::CharacterOfByte(static_cast<std::uint8_t>(byte)), character));
  }
  return text;
}

// A vocabulary of mapped bytes: token n is byte n, then come the wholes of the merges (given as bytes: "LEFT", "RIGHT"),
// each once, then one control token.
inline VocabFile BytePairFile(const std::vector<std::pair<std::string, std::string>>& merges, std::string_view pre) {
  VocabFile file;
  file.model = "gpt2";
  file.with_scores = false;
  file.tokens.clear();
  for (int byte = 0; byte < 256; ++byte) file.tokens.push_back({Mapped(std::string(1, static_cast<char>(byte)))});
  for (const auto& [left, right] : merges) {
    file.merges.push_back(Mapped(left) + " " + Mapped(right));
    if (IdOf(file.tokens, Mapped(left + right)) == inlay::kNoToken) file.tokens.push_back({Mapped(left + right)});
  }
  file.tokens.push_back({"<|endoftext|>", 0, kControl});
  file.Text("tokenizer.ggml.pre", pre);
  return file;
}

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

// The tokens of `text` alone, computed by a thread with a small stack, with exactly the promised memory.
inline TokenIds EncodeOnSmallStack(const inlay::Tokenizer& tokenizer, std::string_view text) {
  struct Work {
    const inlay::Tokenizer& tokenizer;
    std::string_view text;
    std::vector<std::byte> scratch;
    TokenIds ids;
    std::size_t count;
  } work{tokenizer, text, std::vector<std::byte>(tokenizer.EncodeScratchBytes(text.size())),
         TokenIds(tokenizer.MaxTokens(text.size())), 0};
  pthread_attr_t attributes;
  BOOST_REQUIRE(pthread_attr_init(&attributes) == 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr std::size_t kStack = 512 * 1024;  // the instrumentation's own
#else
  constexpr std::size_t kStack = 64 * 1024;
#endif
  BOOST_REQUIRE(pthread_attr_setstacksize(&attributes, kStack) == 0);
  pthread_t thread;
  const auto run = [](void* argument) -> void* {
    Work& w = *static_cast<Work*>(argument);
    w.count = w.tokenizer.Encode(w.text, {.add_special = false}, w.scratch, w.ids).value_or(0);
    return nullptr;
  };
  BOOST_REQUIRE(pthread_create(&thread, &attributes, run, &work) == 0);
  BOOST_REQUIRE(pthread_join(thread, nullptr) == 0);
  pthread_attr_destroy(&attributes);
  work.ids.resize(work.count);
  return work.ids;
}

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
