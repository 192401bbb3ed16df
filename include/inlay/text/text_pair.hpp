// A query and a document as one sequence of tokens: what rerankers read.
#ifndef INLAY_TEXT_TEXT_PAIR_HPP_
#define INLAY_TEXT_TEXT_PAIR_HPP_

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>

#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/text/tokenizer.hpp"

INLAY_BEGIN_NAMESPACE

struct TextPair {
  std::string_view query;
  std::string_view document;
};

// How a model wants its pairs. Most have tokens around and between the two texts, which their vocabularies name: [begin] query
// [end] [separator] document [end]. Others have a form in words, with "{query}" and "{document}" in it (Qwen3-Reranker; the file's
// key kKey). Views the tokenizer and the form.
class PairForm {
 public:
  static constexpr std::string_view kKey = "tokenizer.chat_template.rerank";

  explicit PairForm(const Tokenizer& tokenizer, std::string_view form = {}) : tokenizer_(&tokenizer), form_(form) {}

  // No pair has more tokens, and with this scratch memory Encode never fails.
  std::size_t MaxTokens(const TextPair& pair) const {
    // Each part between control tokens may have as many more as a text of its own.
    if (!form_.empty()) return tokenizer_->MaxTokens(FilledBytes(form_, pair)) + 4 * form_.size();
    return tokenizer_->MaxTokens(pair.query.size()) + tokenizer_->MaxTokens(pair.document.size()) + kMostAddedTokens;
  }
  std::size_t ScratchBytes(const TextPair& pair) const {
    const std::size_t text = form_.empty() ? 0 : FilledBytes(form_, pair);
    return text + tokenizer_->EncodeScratchBytes(std::max({text, pair.query.size(), pair.document.size()}));
  }

  // The tokens of a pair; returns their number. Control tokens are read in the form, never in the two texts, which begin
  // and end words of the form where they touch them. Errors: those of Tokenizer::Encode.
  Result<std::size_t> Encode(const TextPair& pair, std::span<std::byte> scratch, std::span<TokenId> out) const {
    Sink sink{out};
    if (form_.empty()) {
      INLAY_CHECK_OK(Append(pair.query, {}, scratch, sink));
      if (tokenizer_->add_separator() && !tokenizer_->ends_with_separator()) sink.Push(tokenizer_->special().separator);
      INLAY_CHECK_OK(Append(pair.document, {.add_special = false}, scratch, sink));
      if (tokenizer_->ends_with_separator()) sink.Push(tokenizer_->special().separator);
      if (tokenizer_->add_eos()) sink.Push(tokenizer_->eos());
    }
    for (std::size_t at = 0; at < form_.size();) {
      const Vocabulary::Match match = tokenizer_->vocabulary().FindSpecial(form_, at, true);
      const std::size_t end = std::min(match.start, form_.size());
      const std::string_view part = form_.substr(at, end - at);
      const std::size_t bytes = FilledBytes(part, pair);
      if (bytes > scratch.size()) return Fail(ErrorCode::kOutOfMemory, "scratch", "needs ", bytes, " bytes for the text alone");
      char* const text = reinterpret_cast<char*>(scratch.data());
      Fill(part, pair, text);
      INLAY_CHECK_OK(Append({text, bytes}, {.add_special = false}, scratch.subspan(bytes), sink));
      at = end;
      if (match.id == kNoToken) continue;
      sink.Push(match.id);
      at += tokenizer_->vocabulary().PieceSize(match.id);
    }
    if (sink.count <= out.size()) return sink.count;
    return Fail(ErrorCode::kTooLarge, "pair", "has ", sink.count, " tokens, there is room for ", out.size());
  }

 private:
  static constexpr std::size_t kMostAddedTokens = 3;
  static constexpr std::string_view kQuery = "{query}", kDocument = "{document}";

  struct Sink {
    std::span<TokenId> out;
    std::size_t count = 0;
    void Push(TokenId id) {
      if (count < out.size()) out[count] = id;
      ++count;
    }
  };

  Result<void> Append(std::string_view text, const EncodeOptions& options, std::span<std::byte> scratch, Sink& sink) const {
    if (text.empty() && !options.add_special) return {};
    INLAY_ASSIGN_OR_RETURN(const std::size_t count,
                           tokenizer_->Encode(text, options, scratch, sink.out.subspan(std::min(sink.count, sink.out.size()))));
    sink.count += count;
    return {};
  }

  // Calls use(text) for the pieces of a part of the form with the two texts in their places.
  template <class Use>
  static void ForPieces(std::string_view part, const TextPair& pair, Use&& use) {
    while (!part.empty()) {
      const std::size_t query = std::min(part.find(kQuery), part.size()), document = std::min(part.find(kDocument), part.size());
      const std::size_t next = std::min(query, document);
      use(part.substr(0, next));
      if (next == part.size()) return;
      use(query < document ? pair.query : pair.document);
      part.remove_prefix(next + (query < document ? kQuery : kDocument).size());
    }
  }
  static std::size_t FilledBytes(std::string_view part, const TextPair& pair) {
    std::size_t bytes = 0;
    ForPieces(part, pair, [&](std::string_view piece) { bytes += piece.size(); });
    return bytes;
  }
  static void Fill(std::string_view part, const TextPair& pair, char* out) {
    ForPieces(part, pair, [&](std::string_view piece) { out += piece.copy(out, piece.size()); });
  }

  const Tokenizer* tokenizer_;
  std::string_view form_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_TEXT_PAIR_HPP_
