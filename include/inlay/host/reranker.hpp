// Documents in the order of how well they answer a query, by a model that reads both (a cross-encoder), on a machine with a
// heap.
#ifndef INLAY_HOST_RERANKER_HPP_
#define INLAY_HOST_RERANKER_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "inlay/config/model_config.hpp"
#include "inlay/core/arena.hpp"
#include "inlay/core/checked.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/owned_buffer.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/token.hpp"
#include "inlay/files/gguf.hpp"
#include "inlay/model/embedding.hpp"
#include "inlay/model/memory_plan.hpp"
#include "inlay/text/text_pair.hpp"
#include "inlay/text/tokenizer.hpp"
#include "inlay/weights/adapter.hpp"

INLAY_BEGIN_NAMESPACE

// The form of pairs that a model's file has; empty where its vocabulary says all. A view of the file.
inline std::string_view RerankForm(const GgufFile& file) { return file.GetString(PairForm::kKey).value_or(std::string_view()); }

struct RerankOptions {
  std::string_view form = {};    // RerankForm of the model's file
  std::size_t context = 0;       // most tokens of a pair; 0: what the model was trained with
  bool cut_documents = false;    // read as much of a document as there is room for, instead of refusing it
  KvType kv = KvType::kF32;
  std::size_t threads = 1;       // SessionOptions::threads
  Adapters adapters = {};        // what every pair is read with
};

// Scores pairs of texts. Owns the memory of a session, which grows with the longest pair; the model, the tokenizer, the form
// and the adapters outlive it. Movable; not thread-safe.
template <class ModelType>
class Reranker {
 public:
  // kUnsupported: the model gives no scores, or several per pair, of which none says how good a document is.
  static Result<Reranker> Create(const ModelType& model, const Tokenizer& tokenizer, const RerankOptions& options = {}) {
    const ModelConfig& config = model.config();
    if (!config.HasScores()) return Fail(ErrorCode::kUnsupported, "scores", "this model is no reranker: it has no head that gives any");
    // Two of which one is the other's complement: yes and no.
    if (config.score_count() != 1 && !(config.score_count() == 2 && config.head.softmax)) {
      return Fail(ErrorCode::kUnsupported, "scores", "are ", config.score_count(), " per pair: this model is a classifier, no reranker");
    }
    Reranker reranker(model, tokenizer, options);
    const std::size_t most = config.context;
    reranker.context_ = options.context == 0 ? most : config.learned_positions ? std::min(options.context, most) : options.context;
    return reranker;
  }

  // How well `document` answers `query`: the larger the better, on a scale of the model's own. kTooLarge: more tokens than
  // the context has. Errors: those of PairForm::Encode and ScoreSequence, kOutOfMemory.
  Result<float> Score(std::string_view query, std::string_view document, ExecutorRef executor) {
    INLAY_ASSIGN_OR_RETURN(std::size_t count, Encode({query, document}));
    if (count > context_ && options_.cut_documents) {
      INLAY_ASSIGN_OR_RETURN(count, EncodeBeginning(query, document));
    }
    if (count > context_) {
      return Fail(ErrorCode::kTooLarge, "pair", "has ", count, " tokens, the context has ", context_, " positions");
    }
    INLAY_CHECK_OK(Reserve(count));
    const std::span<const TokenId> tokens(reinterpret_cast<const TokenId*>(tokens_.bytes().data()), count);
    std::array<float, 2> scores{};
    INLAY_CHECK_OK(ScoreSequence(*model_, *cache_, *workspace_, tokens, std::span(scores).first(model_->config().score_count()),
                                 executor, &options_.adapters));
    return scores[0];
  }

  // The scores of several documents.
  Result<void> Rank(std::string_view query, std::span<const std::string_view> documents, std::span<float> scores,
                    ExecutorRef executor) {
    if (scores.size() != documents.size()) {
      return Fail(ErrorCode::kInvalidArgument, "scores", "there are ", documents.size(), " documents, and room for ", scores.size());
    }
    for (std::size_t i = 0; i < documents.size(); ++i) {
      INLAY_ASSIGN_OR_RETURN(scores[i], Score(query, documents[i], executor));
    }
    return {};
  }

 private:
  static constexpr std::size_t kContextStep = 256;

  Reranker(const ModelType& model, const Tokenizer& tokenizer, const RerankOptions& options)
      : model_(&model), form_(tokenizer, options.form), options_(options) {}

  static Result<void> Grow(OwnedBuffer& buffer, std::size_t bytes, std::string_view what) {
    if (buffer.bytes().size() >= bytes) return {};
    INLAY_ASSIGN_OR_RETURN(buffer, OwnedBuffer::Create(bytes, what));
    return {};
  }

  // Puts a pair's tokens to the beginning of tokens_.
  Result<std::size_t> Encode(const TextPair& pair) {
    const std::size_t most = form_.MaxTokens(pair);
    INLAY_CHECK_OK(Grow(tokens_, most * sizeof(TokenId), "tokens"));
    INLAY_CHECK_OK(Grow(scratch_, form_.ScratchBytes(pair), "tokenizer scratch"));
    return form_.Encode(pair, scratch_.bytes(), {reinterpret_cast<TokenId*>(tokens_.bytes().data()), most});
  }
  // The same with the longest beginning of the document, in whole characters, that fits; more than the context has where not
  // even an empty one does.
  Result<std::size_t> EncodeBeginning(std::string_view query, std::string_view document) {
    const auto begins_character = [&](std::size_t at) { return (static_cast<unsigned char>(document[at]) & 0xC0) != 0x80; };
    std::size_t fits = 0, too_long = document.size();  // in bytes
    while (true) {
      std::size_t middle = fits + (too_long - fits) / 2;
      while (middle > fits && !begins_character(middle)) --middle;
      if (middle == fits) ++middle;
      while (middle < too_long && !begins_character(middle)) ++middle;
      if (middle >= too_long) break;
      INLAY_ASSIGN_OR_RETURN(const std::size_t count, Encode({query, document.substr(0, middle)}));
      (count <= context_ ? fits : too_long) = middle;
    }
    return Encode({query, document.substr(0, fits)});
  }

  // Memory for a pair of `tokens`.
  Result<void> Reserve(std::size_t tokens) {
    if (cache_ && cache_->context() >= tokens) return {};
    SessionOptions session;
    session.context = std::min(context_, RoundUp(tokens, kContextStep));
    if (!model_->config().attention.causal) session.batch = session.context;
    session.batch = std::min(session.batch, session.context);
    session.kv = options_.kv;
    session.threads = options_.threads;
    session.adapter_rank = options_.adapters.rank();
    INLAY_ASSIGN_OR_RETURN(const MemoryPlan plan, model_->PlanFor(session));
    cache_.reset();
    workspace_.reset();
    INLAY_CHECK_OK(Grow(memory_, plan.session(), "session"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(memory_.bytes()));
    INLAY_ASSIGN_OR_RETURN(cache_, model_->NewCache(session, arena));
    INLAY_ASSIGN_OR_RETURN(workspace_, model_->NewWorkspace(session, arena));
    return {};
  }

  const ModelType* model_;
  PairForm form_;
  RerankOptions options_;
  std::size_t context_ = 0;
  OwnedBuffer tokens_, scratch_, memory_;
  std::optional<SequenceCache> cache_;
  std::optional<Workspace> workspace_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_RERANKER_HPP_
