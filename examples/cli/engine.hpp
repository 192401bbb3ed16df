// A model opened at run time, behind a wall: only engine.cpp includes and compiles the model itself, which takes as long
// as all other files together.
#ifndef INLAY_EXAMPLES_CLI_ENGINE_HPP_
#define INLAY_EXAMPLES_CLI_ENGINE_HPP_

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "common.hpp"
#include "inlay/core/executor.hpp"
#include "inlay/core/result.hpp"
#include "inlay/core/thread_pool.hpp"
#include "inlay/core/token.hpp"
#include "inlay/generate/finish_reason.hpp"
#include "inlay/generate/sampler.hpp"
#include "inlay/host/model_file.hpp"
#include "inlay/model/memory_plan.hpp"

namespace cli {

class Engine {
 public:
  // Opens, packs if need be (with a progress bar) and starts the threads. No path: the model inside this program.
  static inlay::Result<Engine> Open(const ModelOptions& options);
  Engine(Engine&&) noexcept;
  ~Engine();

  const inlay::ModelFile& file() const;
  const inlay::ModelConfig& config() const { return file().config(); }
  // kMissing or kUnsupported when the file has none.
  inlay::Result<const inlay::Tokenizer*> tokenizer() const;
  inlay::ThreadPool& threads();

  // The tokens of a text, by default with the special tokens around it that the model was trained with.
  inlay::Result<std::vector<inlay::TokenId>> Encode(std::string_view text, const inlay::EncodeOptions& options = {}) const;

  // What Start and StartEvaluation take; `options.threads` is set in all three.
  inlay::Result<inlay::MemoryPlan> PlanFor(inlay::SessionOptions options) const;

  // --- one sequence, to be continued ---

  // Makes a session; Restart, Append, logits and Generate need one.
  inlay::Result<void> Start(inlay::SessionOptions options);
  // Forgets all tokens.
  void Restart();
  // Goes back to `length` tokens; returns how many are left, which may be fewer (Session::Truncate).
  std::size_t Rewind(std::size_t length);
  std::size_t remaining() const;  // positions left

  // Reads tokens; keeps the logits of what comes next.
  inlay::Result<void> Append(std::span<const inlay::TokenId> tokens, inlay::FunctionRef<bool(std::size_t, std::size_t)> progress);
  std::span<const float> logits() const;

  struct Generated {
    std::size_t tokens = 0;
    inlay::TokenId last = inlay::kNoToken;  // sampled, but not read yet
    inlay::FinishReason reason = inlay::FinishReason::kNone;
    inlay::Result<void> status;
  };
  // Text after what has been read, whose tokens are `prompt`, piece by piece: the text and the token that completed it.
  inlay::Result<Generated> Generate(std::span<const inlay::TokenId> prompt, std::size_t max_tokens,
                                    const inlay::SamplerOptions& sampling, bool stop_at_end_of_text,
                                    inlay::FunctionRef<inlay::Result<void>(std::string_view, inlay::TokenId)> use);

  // --- logits of every position ---

  // Makes the memory of Evaluate, which needs as many outputs as a batch has tokens, and of Embed, which needs none.
  inlay::Result<void> StartEvaluation(inlay::SessionOptions options);
  // Reads a sequence from its beginning and hands out the logits after each token, [vocab], in order.
  inlay::Result<void> Evaluate(std::span<const inlay::TokenId> tokens,
                               inlay::FunctionRef<inlay::Result<void>(std::size_t, std::span<const float>)> use);
  // Reads a sequence from its beginning in one pass and pools its hidden states, [dim].
  inlay::Result<std::vector<float>> Embed(std::span<const inlay::TokenId> tokens, inlay::Pooling pooling);

  // --- pairs of texts ---

  // `context`: most tokens of a pair; 0: what the model was trained with.
  inlay::Result<void> StartReranking(std::size_t context, inlay::KvType kv, bool cut_documents);
  inlay::Result<float> Rerank(std::string_view query, std::string_view document);

 private:
  struct State;
  explicit Engine(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace cli

#endif  // INLAY_EXAMPLES_CLI_ENGINE_HPP_
