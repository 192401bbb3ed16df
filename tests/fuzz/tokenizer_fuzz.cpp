// Any bytes as a vocabulary (GGUF or llama2.c's): an error, or a tokenizer that encodes and decodes within its bounds.
// Any bytes as text, with a sound vocabulary of each kind: no byte is lost on the way to tokens and back where the kind
// keeps bytes, however the stream is cut. Any bytes as merges, and as a table of replacements.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "inlay/core/owned_buffer.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/text/detokenizer.hpp"
#include "inlay/text/stop_strings.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/text/utf8.hpp"
#include "tests/support/gguf_bytes.hpp"

namespace {

void Require(bool condition) {
  if (!condition) __builtin_trap();
}

class Memory {
 public:
  explicit Memory(std::size_t size) : buffer_(*inlay::OwnedBuffer::Create(size)) {}
  inlay::Arena arena() { return *inlay::Arena::Create(buffer_.bytes()); }

 private:
  inlay::OwnedBuffer buffer_;
};

// Encodes `text` with exactly the promised memory; empty where the vocabulary cannot spell it.
std::vector<inlay::TokenId> Encode(const inlay::Tokenizer& tokenizer, std::string_view text,
                                   const inlay::EncodeOptions& options) {
  std::vector<std::byte> scratch(tokenizer.EncodeScratchBytes(text.size()));
  std::vector<inlay::TokenId> ids(tokenizer.MaxTokens(text.size()));
  const auto count = tokenizer.Encode(text, options, scratch, ids);
  Require(count || count.error().code == inlay::ErrorCode::kMissing);
  ids.resize(count.value_or(0));
  for (const inlay::TokenId id : ids) Require(tokenizer.vocabulary().Contains(id));
  return ids;
}

std::string Decode(const inlay::Tokenizer& tokenizer, std::span<const inlay::TokenId> ids,
                   const inlay::DetokenizeOptions& options) {
  Memory memory(inlay::Detokenizer::MemoryBytes(tokenizer));
  inlay::Arena arena = memory.arena();
  auto stream = *inlay::Detokenizer::Create(tokenizer, options, arena);
  std::string text;
  for (const inlay::TokenId id : ids) text += *stream.Feed(id);
  return text + std::string(stream.Flush());
}

void Use(const inlay::Tokenizer& tokenizer, std::string_view text) {
  for (const bool flag : {false, true}) {
    const auto ids = Encode(tokenizer, text, {.add_special = flag, .parse_special = flag});
    Decode(tokenizer, ids, {.special = flag});
  }
  std::vector<inlay::TokenId> all;
  for (inlay::TokenId id = 0; tokenizer.vocabulary().Contains(id); ++id) all.push_back(id);
  Decode(tokenizer, all, {.special = true, .leading_space = inlay::LeadingSpace::kStripFirst});
}

void AsGguf(std::span<const std::byte> file) {
  Memory index_memory(inlay::GgufFile::IndexBytes(file));
  inlay::Arena index = index_memory.arena();
  const auto gguf = inlay::GgufFile::Open(file, index);
  if (!gguf) return;
  const auto bytes = inlay::Tokenizer::ArenaBytesFor(*gguf);
  if (!bytes) return Require(!bytes.error().field.empty());
  Memory memory(*bytes);
  inlay::Arena arena = memory.arena();
  const auto tokenizer = inlay::Tokenizer::FromGguf(*gguf, arena);
  if (tokenizer) return Use(*tokenizer, " Hello <s>w\xC3\xB6rld</s>\n\xFF\xF0 1");
  Require(!tokenizer.error().field.empty() && tokenizer.error().code != inlay::ErrorCode::kOutOfMemory);
}

void AsLlama2c(std::span<const std::byte> file, std::size_t vocab) {
  Memory memory(inlay::Tokenizer::MaxArenaBytes(vocab));
  inlay::Arena arena = memory.arena();
  const auto tokenizer = inlay::Tokenizer::FromLlama2c(file, vocab, arena);
  if (tokenizer) return Use(*tokenizer, " Hello <s>w\xC3\xB6rld</s>\n\xFF\xF0 1");
  Require(!tokenizer.error().field.empty() && tokenizer.error().code != inlay::ErrorCode::kOutOfMemory);
}

// Bytes, and pieces that make short texts join in many ways.
std::string SoundVocabulary(std::size_t& vocab) {
  std::string file("\x06\0\0\0", 4);
  vocab = 0;
  const auto add = [&](std::string_view piece) {
    const float score = static_cast<float>(vocab * 7 % 13);
    const std::uint32_t size = static_cast<std::uint32_t>(piece.size());
    file.append(reinterpret_cast<const char*>(&score), 4).append(reinterpret_cast<const char*>(&size), 4).append(piece);
    ++vocab;
  };
  for (const std::string_view piece : {"<unk>", "<s>", "</s>"}) add(piece);
  const char* hex = "0123456789ABCDEF";
  for (int byte = 0; byte < 256; ++byte) add({"<0x" + std::string{hex[byte / 16], hex[byte % 16]} + ">"});
  for (const std::string_view piece :
       {" ", "a", "b", "e", "\xC3\xA9", " a", "ab", "ba", "  ", "a b", "aa", "aab", "e\xC3\xA9"}) {
    add(piece);
  }
  return file;
}

void AsText(std::string_view text) {
  static std::size_t vocab = 0;
  static const std::string file = SoundVocabulary(vocab);
  static Memory memory(inlay::Tokenizer::MaxArenaBytes(vocab));
  static inlay::Arena arena = memory.arena();
  static const auto tokenizer = inlay::Tokenizer::FromLlama2c(std::as_bytes(std::span(file)), vocab, arena);
  Require(tokenizer.has_value());
  const auto ids = Encode(*tokenizer, text, {.add_special = false});
  Require(Decode(*tokenizer, ids, {.leading_space = inlay::LeadingSpace::kStripFirst}) == text);

  // The first bytes are a stop string for the rest.
  if (text.size() < 4) return;
  const std::size_t size = 1 + static_cast<unsigned char>(text[0]) % 3;
  const std::string_view stops[] = {text.substr(1, size)};
  text.remove_prefix(1 + size);
  Memory stop_memory(inlay::StopMatcher::MemoryBytes(stops, 3));
  inlay::Arena stop_arena = stop_memory.arena();
  auto matcher = *inlay::StopMatcher::Create(stops, 3, stop_arena);
  std::string shown;
  bool stopped = false;
  for (std::size_t at = 0; at < text.size() && !stopped; at += 3) {
    const auto result = *matcher.Feed(text.substr(at, 3));
    shown += result.text;
    stopped = result.stopped();
  }
  if (!stopped) shown += matcher.Flush();
  Require(shown == text.substr(0, text.find(stops[0])) && stopped == (text.find(stops[0]) != std::string_view::npos));
  Require(inlay::FindInvalidUtf8(text) <= text.size() && inlay::IncompleteUtf8Suffix(text) <= 3);
}

// A GGUF file of a vocabulary of `model`: special tokens, bytes (mapped ones for "gpt2") and `pieces`.
struct VocabularyFile {
  std::string_view model;
  std::string_view pre;
  std::vector<std::string> pieces;
  std::vector<std::string> merges;
  std::string_view table;

  std::vector<std::byte> Build() const {
    using inlay::GgufType;
    std::vector<std::string> all = {"<unk>", "<s>", "</s>"};
    for (int byte = 0; byte < 256; ++byte) {
      const char* hex = "0123456789ABCDEF";
      std::string piece = "<0x" + std::string{hex[byte / 16], hex[byte % 16]} + ">";
      if (model == "gpt2") {
        char mapped[4];
        piece.assign(mapped, inlay::EncodeUtf8(inlay::CharacterOfByte(static_cast<std::uint8_t>(byte)), mapped));
      }
      all.push_back(piece);
    }
    all.insert(all.end(), pieces.begin(), pieces.end());
    inlay_test::Bytes bytes;
    bytes.Header(0, 10);
    bytes.Key("tokenizer.ggml.model", GgufType::kString).String(model);
    bytes.Key("tokenizer.ggml.pre", GgufType::kString).String(pre);
    bytes.Key("tokenizer.ggml.tokens", GgufType::kArray).Type(GgufType::kString).U64(all.size());
    for (const std::string& piece : all) bytes.String(piece);
    bytes.Key("tokenizer.ggml.scores", GgufType::kArray).Type(GgufType::kF32).U64(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) bytes.F32(static_cast<float>(i * 7 % 13) - 20);
    bytes.Key("tokenizer.ggml.token_type", GgufType::kArray).Type(GgufType::kI32).U64(all.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      bytes.Number(std::int32_t{i == 0 ? 2 : i < 3 ? 3 : i < 259 && model != "gpt2" ? 6 : 1});
    }
    bytes.Key("tokenizer.ggml.merges", GgufType::kArray).Type(GgufType::kString).U64(merges.size());
    for (const std::string& merge : merges) bytes.String(merge);
    bytes.Key("tokenizer.ggml.precompiled_charsmap", GgufType::kArray).Type(GgufType::kU8).U64(table.size()).Raw(table);
    bytes.Key("tokenizer.ggml.unknown_token_id", GgufType::kU32).U32(0);
    bytes.Key("tokenizer.ggml.bos_token_id", GgufType::kU32).U32(1);
    bytes.Key("tokenizer.ggml.seperator_token_id", GgufType::kU32).U32(2);
    return bytes.bytes();
  }
};

void WithEachAlgorithm(std::uint8_t which, std::string_view text) {
  const std::string mark(inlay::kSpaceMark);
  const std::vector<std::string> words = {mark,  "a", "b", mark + "a", "ab", mark + "ab", "\xC3\xA9", "a" + mark + "b",
                                          "\n\n"};
  constexpr std::size_t kNames = std::size(inlay::detail::kPreTokenizers);
  VocabularyFile file = {"gpt2", inlay::detail::kPreTokenizers[which % kNames].name, {}, {}, {}};
  bool keeps_bytes = true;
  if (which % 4 == 0) {
    file.model = "gemma4";
    file.pieces = words;
    file.merges = {"a b", mark + " a", mark + "a b"};
  } else if (which % 4 == 1) {
    keeps_bytes = false;
    file.model = which % 8 == 1 ? "bert" : "t5";
    file.pieces = words;
  } else {
    // Names whose pieces are marked have them here as mapped bytes: all the same to a tokenizer.
    file.pieces = {"ab",
                   "\xC4\xA0"
                   "a",
                   "\xC3\x83\xC2\xA9", "aa"};
    file.merges = {"a b", "\xC4\xA0 a", "\xC3\x83 \xC2\xA9", "a a"};
    keeps_bytes = !inlay::PreTokenizer::Find(file.pre)->Has(inlay::PreTokenizer::kMarksSpaces);
  }
  const std::vector<std::byte> bytes = file.Build();
  Memory index_memory(inlay::GgufFile::IndexBytes(bytes));
  inlay::Arena index = index_memory.arena();
  const auto gguf = inlay::GgufFile::Open(bytes, index);
  Memory memory(*inlay::Tokenizer::ArenaBytesFor(*gguf));
  inlay::Arena arena = memory.arena();
  const auto tokenizer = inlay::Tokenizer::FromGguf(*gguf, arena);
  Require(tokenizer.has_value());
  const auto ids = Encode(*tokenizer, text, {.add_special = false});
  const std::string back = Decode(*tokenizer, ids, {.leading_space = inlay::LeadingSpace::kKeep});
  // The mark itself comes back as the space that it stands for.
  if (keeps_bytes && text.find(inlay::kSpaceMark) == std::string_view::npos) Require(back == text);
  Use(*tokenizer, text);
}

// Either refused, or a tokenizer that keeps its promises of memory.
void AsMergesAndTable(std::string_view text) {
  VocabularyFile merges = {"gpt2", "gpt-2", {"ab", "aa", "aab"}, {"a b"}, {}};
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    merges.merges.emplace_back(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  AsGguf(merges.Build());
  AsGguf(VocabularyFile{"t5", "", {"a", "b", "w"}, {}, text}.Build());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::span<const std::byte> rest = std::as_bytes(std::span(data, size)).subspan(2);
  const std::string_view text(reinterpret_cast<const char*>(rest.data()), rest.size());
  switch (data[0] % 5) {
    case 0: AsGguf(rest); break;
    case 1: AsLlama2c(rest, std::size_t{data[1]} + 1); break;
    case 2: AsText(text); break;
    case 3: WithEachAlgorithm(data[1], text); break;
    default: AsMergesAndTable(text); break;
  }
  return 0;
}
