// inlay, all of it in one file. Generated from include/ by tools/amalgamate.py: do not edit.
// SPDX-License-Identifier: Apache-2.0

#ifndef INLAY_SINGLE_INCLUDE_HPP_
#define INLAY_SINGLE_INCLUDE_HPP_

// --- inlay/core/macros.hpp

// Version, ABI tag and the few macros of the library; every INLAY_ macro is defined here.
//
// The whole library lives in an inline namespace whose name says what the enclosing translation unit was compiled for.
// Inline functions of a header-only library are merged by the linker: without the tag, a program that compiles one file
// with AVX-512 and another without could run AVX-512 code from the "portable" one. With it, they are different symbols,
// and passing an inlay type between such files is a link error instead of a crash.
#ifndef INLAY_CORE_MACROS_HPP_
#define INLAY_CORE_MACROS_HPP_

#define INLAY_VERSION_MAJOR 0
#define INLAY_VERSION_MINOR 1
#define INLAY_VERSION_PATCH 0

#if defined(__AVX512VNNI__) && (defined(__AMX_INT8__) || defined(__AMXINT8__))
#define INLAY_ABI_CPU avx512amx
#elif defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__)
#define INLAY_ABI_CPU avx512vnni
#elif defined(__AVX512F__) && defined(__AVX512BW__)
#define INLAY_ABI_CPU avx512
#elif defined(__AVX2__) && defined(__FMA__) && defined(__AVXVNNI__)
#define INLAY_ABI_CPU avx2vnni
#elif defined(__AVX2__) && defined(__FMA__)
#define INLAY_ABI_CPU avx2
#elif defined(__SSE4_1__)
#define INLAY_ABI_CPU sse4
#elif defined(__SSSE3__)
#define INLAY_ABI_CPU ssse3
#elif defined(__ARM_FEATURE_MATMUL_INT8)
#define INLAY_ABI_CPU neon_i8mm
#elif defined(__ARM_FEATURE_DOTPROD)
#define INLAY_ABI_CPU neon_dotprod
#elif defined(__ARM_NEON)
#define INLAY_ABI_CPU neon
#elif defined(__wasm_simd128__)
#define INLAY_ABI_CPU wasm128
#else
#define INLAY_ABI_CPU baseline
#endif

#if defined(__FAST_MATH__)
#define INLAY_ABI_MATH _fast
#else
#define INLAY_ABI_MATH
#endif

#if defined(NDEBUG)
#define INLAY_ABI_CHECKS
#else
#define INLAY_ABI_CHECKS _debug
#endif

#define INLAY_DETAIL_CONCAT4(a, b, c, d) a##b##c##d
#define INLAY_DETAIL_EXPAND4(a, b, c, d) INLAY_DETAIL_CONCAT4(a, b, c, d)
#define INLAY_ABI_NAMESPACE INLAY_DETAIL_EXPAND4(v0_1_, INLAY_ABI_CPU, INLAY_ABI_MATH, INLAY_ABI_CHECKS)

#define INLAY_BEGIN_NAMESPACE \
  namespace inlay {           \
  inline namespace INLAY_ABI_NAMESPACE {
#define INLAY_END_NAMESPACE \
  }                         \
  }

// Assertions guard the library's own invariants only: nothing that a file or a user can cause. Off in release builds.
#if defined(NDEBUG)
#define INLAY_ASSERT(condition) ((void)0)
#else
#define INLAY_ASSERT(condition) ((condition) ? (void)0 : __builtin_trap())
#endif

// Returns the error of `result` from the enclosing function, or continues. For Result<void> and Result<T> whose value
// is not needed.
#define INLAY_CHECK_OK(expression)                                                            \
  do {                                                                                        \
    if (auto inlay_status = (expression); !inlay_status) return inlay_status.error_value();   \
  } while (false)

// INLAY_ASSIGN_OR_RETURN(auto value, MayFail()); declares `value` or returns the error from the enclosing function.
#define INLAY_DETAIL_CONCAT2(a, b) a##b
#define INLAY_DETAIL_EXPAND2(a, b) INLAY_DETAIL_CONCAT2(a, b)
#define INLAY_ASSIGN_OR_RETURN(declaration, expression) \
  INLAY_DETAIL_ASSIGN(INLAY_DETAIL_EXPAND2(inlay_result_, __LINE__), declaration, expression)
#define INLAY_DETAIL_ASSIGN(result, declaration, expression)  \
  auto result = (expression);                                 \
  if (!result) return result.error_value();                   \
  declaration = static_cast<decltype(result)&&>(result).value_unchecked()

#endif  // INLAY_CORE_MACROS_HPP_

// --- inlay/core/text_buffer.hpp

// Text in a fixed buffer: error messages and tensor names are built without heap, locale or iostream.
#ifndef INLAY_CORE_TEXT_BUFFER_HPP_
#define INLAY_CORE_TEXT_BUFFER_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

INLAY_BEGIN_NAMESPACE

// Holds up to kCapacity - 1 bytes and a terminating NUL. Text that does not fit is cut at a UTF-8 character and ends in
// "..." so that a reader sees that something is missing. Trivially copyable.
template <std::size_t kCapacity>
class TextBuffer {
  static_assert(kCapacity >= 8);

 public:
  constexpr TextBuffer() = default;
  template <class... Parts>
    requires(sizeof...(Parts) > 0)
  constexpr explicit TextBuffer(const Parts&... parts) {
    (Append(parts), ...);
  }

  constexpr std::string_view view() const { return {data_, size_}; }
  constexpr const char* c_str() const { return data_; }
  constexpr std::size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }

  // Not inlined: text is built where something failed, and speed is not the point there.
  [[gnu::noinline, gnu::cold]] constexpr TextBuffer& Append(std::string_view text) {
    if (cut_) return *this;
    const std::size_t room = kCapacity - 1 - size_;
    std::size_t count = text.size();
    if (count > room) {
      cut_ = true;
      count = room >= 3 ? room - 3 : 0;
      while (count > 0 && (static_cast<unsigned char>(text[count]) & 0xC0) == 0x80) --count;
    }
    for (std::size_t i = 0; i < count; ++i) data_[size_ + i] = text[i];
    size_ += count;
    if (cut_) {
      if (size_ > kCapacity - 4) {
        size_ = kCapacity - 4;
        while (size_ > 0 && (static_cast<unsigned char>(data_[size_]) & 0xC0) == 0x80) --size_;
      }
      for (int i = 0; i < 3; ++i) data_[size_++] = '.';
    }
    data_[size_] = '\0';
    return *this;
  }
  constexpr TextBuffer& Append(const char* text) { return Append(std::string_view(text)); }
  constexpr TextBuffer& Append(char c) { return Append(std::string_view(&c, 1)); }

  template <class Integer>
    requires(std::is_integral_v<Integer> && !std::is_same_v<Integer, char> && !std::is_same_v<Integer, bool>)
  [[gnu::noinline, gnu::cold]] constexpr TextBuffer& Append(Integer value) {
    char digits[24] = {};
    std::size_t at = sizeof(digits);
    const bool negative = value < 0;
    // Negating the most negative value is done in unsigned arithmetic, where it is defined.
    std::uint64_t rest = static_cast<std::uint64_t>(value);
    if (negative) rest = 0 - rest;
    do {
      digits[--at] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (negative) digits[--at] = '-';
    return Append(std::string_view(digits + at, sizeof(digits) - at));
  }

 private:
  char data_[kCapacity] = {};
  std::size_t size_ = 0;
  bool cut_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_TEXT_BUFFER_HPP_

// --- inlay/core/status.hpp

// What can go wrong, as values: a code, the offending field, the byte offset in the input and a sentence for people.
#ifndef INLAY_CORE_STATUS_HPP_
#define INLAY_CORE_STATUS_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

INLAY_BEGIN_NAMESPACE

enum class ErrorCode : std::uint8_t {
  kInvalidArgument,   // the caller passed something the function cannot take
  kBadFile,           // the bytes contradict their format
  kTruncated,         // the bytes end before the format says they may
  kUnsupported,       // well-formed, but not something this library (or this model type) reads
  kMissing,           // a required key, tensor or token is absent
  kMismatch,          // present, but not what the configuration needs (shape, type, value)
  kTooLarge,          // a size or count is beyond what can be represented or was budgeted
  kOutOfMemory,       // the memory handed over is too small
  kContextFull,       // no position is left in the session's context
  kNonFinite,         // NaN or infinity where numbers are required
  kCancelled,         // the caller asked to stop
  kSystem,            // the operating system refused (open, map, write, ...)
};

constexpr std::string_view Name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid argument";
    case ErrorCode::kBadFile: return "bad file";
    case ErrorCode::kTruncated: return "truncated";
    case ErrorCode::kUnsupported: return "not supported";
    case ErrorCode::kMissing: return "missing";
    case ErrorCode::kMismatch: return "mismatch";
    case ErrorCode::kTooLarge: return "too large";
    case ErrorCode::kOutOfMemory: return "out of memory";
    case ErrorCode::kContextFull: return "context full";
    case ErrorCode::kNonFinite: return "not finite";
    case ErrorCode::kCancelled: return "cancelled";
    case ErrorCode::kSystem: return "system error";
  }
  return "unknown";
}

// Trivially copyable, no heap. `field` names the key, tensor or argument; `offset` is the byte in the input where the
// offence starts, or kNoOffset; `detail` says what was wrong and, where there is something to do, what to do.
struct [[nodiscard]] Error {
  static constexpr std::uint64_t kNoOffset = ~std::uint64_t{0};

  ErrorCode code = ErrorCode::kInvalidArgument;
  std::uint64_t offset = kNoOffset;
  TextBuffer<96> field;
  TextBuffer<192> detail;

  // "bad file: tensor blk.0.attn_q.weight: offset is not a multiple of 32 (at byte 1234)"
  constexpr TextBuffer<384> Message() const {
    TextBuffer<384> text(Name(code));
    if (!field.empty()) text.Append(": ").Append(field.view());
    if (!detail.empty()) text.Append(": ").Append(detail.view());
    if (offset != kNoOffset) text.Append(" (at byte ").Append(offset).Append(')');
    return text;
  }
};

// Builds an error; the detail is put together from text and integers: Fail(kMissing, key, "needed by ", architecture).
// Out of line and cold: a message is put together at hundreds of places, and inlined it was a sixth of a program.
template <class... Parts>
[[gnu::noinline, gnu::cold]] constexpr Error Fail(ErrorCode code, std::string_view field, const Parts&... detail) {
  Error error;
  error.code = code;
  error.field.Append(field);
  (error.detail.Append(detail), ...);
  return error;
}

template <class... Parts>
[[gnu::noinline, gnu::cold]] constexpr Error FailAt(ErrorCode code, std::uint64_t offset, std::string_view field,
                                                    const Parts&... detail) {
  Error error = Fail(code, field, detail...);
  error.offset = offset;
  return error;
}

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_STATUS_HPP_

// --- inlay/core/result.hpp

// Result<T>: a value or an Error, for code without exceptions. The members are those of std::expected<T, Error> that
// need no exceptions, so a later switch to std::expected changes no caller.
#ifndef INLAY_CORE_RESULT_HPP_
#define INLAY_CORE_RESULT_HPP_

#include <memory>
#include <type_traits>
#include <utility>

INLAY_BEGIN_NAMESPACE

// Holds a T or an Error. Reading the value of a failed result is a bug of the caller: an assertion in debug builds,
// undefined in release builds (as std::expected's operator*). Moves and copies as T does.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  constexpr Result(T value) : value_(std::move(value)), has_value_(true) {}  // NOLINT: implicit by design
  constexpr Result(const Error& error) : error_(error), has_value_(false) {}  // NOLINT: implicit by design

  constexpr Result(const Result& other)
    requires std::is_copy_constructible_v<T>
      : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, other.value_);
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  constexpr Result(Result&& other) noexcept(std::is_nothrow_move_constructible_v<T>) : has_value_(other.has_value_) {
    if (has_value_) {
      std::construct_at(&value_, std::move(other.value_));
    } else {
      std::construct_at(&error_, other.error_);
    }
  }
  constexpr Result& operator=(Result other) noexcept(std::is_nothrow_move_constructible_v<T>) {
    std::destroy_at(this);
    std::construct_at(this, std::move(other));
    return *this;
  }
  // Not a second, defaulted destructor for trivial types: Clang 14 cannot choose between two.
  constexpr ~Result() {
    if (has_value_) std::destroy_at(std::addressof(value_));
  }

  constexpr bool has_value() const { return has_value_; }
  constexpr explicit operator bool() const { return has_value_; }

  constexpr T& operator*() & { return Checked(), value_; }
  constexpr const T& operator*() const& { return Checked(), value_; }
  constexpr T&& operator*() && { return Checked(), std::move(value_); }
  constexpr T* operator->() { return Checked(), &value_; }
  constexpr const T* operator->() const { return Checked(), &value_; }

  template <class U>
  constexpr T value_or(U&& fallback) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<U>(fallback));
  }

  constexpr const Error& error() const {
    INLAY_ASSERT(!has_value_);
    return error_;
  }

  // For the macros of macros.hpp.
  constexpr const Error& error_value() const { return error(); }
  constexpr T&& value_unchecked() && { return std::move(value_); }

 private:
  constexpr void Checked() const { INLAY_ASSERT(has_value_); }

  union {
    T value_;
    Error error_;
  };
  bool has_value_;
};

// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  constexpr Result() = default;
  constexpr Result(const Error& error) : error_(error), has_value_(false) {}  // NOLINT: implicit by design

  constexpr bool has_value() const { return has_value_; }
  constexpr explicit operator bool() const { return has_value_; }
  constexpr const Error& error() const {
    INLAY_ASSERT(!has_value_);
    return error_;
  }
  constexpr const Error& error_value() const { return error(); }

 private:
  Error error_;
  bool has_value_ = true;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_RESULT_HPP_

// --- inlay/config/model_config.hpp

// ModelConfig: every dimension and constant of a model, as a structural type, so that it can be a template argument.
#ifndef INLAY_CONFIG_MODEL_CONFIG_HPP_
#define INLAY_CONFIG_MODEL_CONFIG_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

INLAY_BEGIN_NAMESPACE

enum class Architecture : std::uint8_t {
  kLlama,  // RMSNorm, rotary positions, grouped-query attention, SwiGLU: Llama 1-3, Mistral 7B, TinyLlama, SmolLM2
};

constexpr std::string_view Name(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama: return "llama";
  }
  return "unknown";
}

// How rotary frequencies are changed to reach contexts longer than the training length.
enum class RopeScaling : std::uint8_t {
  kNone,
  kLinear,  // positions divided by rope_scale
  kFactors, // each frequency divided by its own factor from the tensor rope_freqs.weight (Llama 3.1 and later)
};

// A model's hyperparameters. Aggregate and structural: usable as a constant, a template argument and a value read from
// a file. Fields are those of GGUF's "llama.*" keys under the field's usual names.
struct ModelConfig {
  Architecture architecture = Architecture::kLlama;
  std::uint32_t dim = 0;       // width of the residual stream (embedding_length)
  std::uint32_t layers = 0;    // block_count
  std::uint32_t heads = 0;     // query heads
  std::uint32_t kv_heads = 0;  // key/value heads; divides heads
  std::uint32_t head_dim = 0;  // width of one head
  std::uint32_t ffn_dim = 0;   // hidden width of the feed-forward network
  std::uint32_t vocab = 0;     // tokens
  std::uint32_t context = 0;   // longest context that the model was trained for
  std::uint32_t rope_dim = 0;  // leading dimensions of a head that are rotated; even
  float rope_base = 10000.0f;
  float rope_scale = 1.0f;
  RopeScaling rope_scaling = RopeScaling::kNone;
  float norm_epsilon = 1e-5f;  // of RMSNorm
  bool tied_embeddings = false;  // the output matrix is the embedding table
  // Sliding window: a query at position p sees keys p - window + 1 .. p. 0: all.
  std::uint32_t window = 0;
  // Mixture of experts: feed-forward networks per layer, and how many of them each token uses. 0: one dense network.
  std::uint32_t experts = 0;
  std::uint32_t experts_per_token = 0;

  constexpr bool operator==(const ModelConfig&) const = default;

  constexpr std::size_t q_dim() const { return std::size_t{heads} * head_dim; }
  constexpr std::size_t kv_dim() const { return std::size_t{kv_heads} * head_dim; }
  constexpr std::size_t group() const { return heads / kv_heads; }  // query heads per key/value head
};

// Limits that keep every product of two dimensions far from overflow, and that no published model comes near.
inline constexpr std::uint32_t kMaxDimension = 1u << 22;
inline constexpr std::uint32_t kMaxLayers = 1u << 12;
inline constexpr std::uint32_t kMaxHeads = 1u << 12;
inline constexpr std::uint32_t kMaxHeadDim = 512;
inline constexpr std::uint32_t kMaxContext = 1u << 28;
inline constexpr std::uint32_t kMaxExperts = 1u << 10;

// Every rule a configuration must keep, once: RULE(field, message, condition on `c`). Validate turns a broken rule into
// an error value (files), StaticSpec into a failed static_assert with the same words (compile-time configurations).
// Comparisons of floats are written so that NaN breaks the rule.
#define INLAY_CONFIG_RULES(RULE)                                                                                      \
  RULE("dim", "must be 1 .. 2^22", c.dim >= 1 && c.dim <= kMaxDimension)                                              \
  RULE("layers", "must be 1 .. 4096", c.layers >= 1 && c.layers <= kMaxLayers)                                        \
  RULE("heads", "must be 1 .. 4096", c.heads >= 1 && c.heads <= kMaxHeads)                                            \
  RULE("kv_heads", "must be 1 .. heads and divide heads",                                                             \
       c.kv_heads >= 1 && c.kv_heads <= c.heads && c.heads % c.kv_heads == 0)                                         \
  RULE("head_dim", "must be even and 2 .. 512", c.head_dim >= 2 && c.head_dim <= kMaxHeadDim && c.head_dim % 2 == 0)  \
  RULE("ffn_dim", "must be 1 .. 2^22", c.ffn_dim >= 1 && c.ffn_dim <= kMaxDimension)                                  \
  RULE("vocab", "must be 1 .. 2^22", c.vocab >= 1 && c.vocab <= kMaxDimension)                                        \
  RULE("context", "must be 1 .. 2^28", c.context >= 1 && c.context <= kMaxContext)                                    \
  RULE("rope_dim", "must be even and at most head_dim", c.rope_dim <= c.head_dim && c.rope_dim % 2 == 0)              \
  RULE("rope_base", "must be 1 .. 1e12", c.rope_base >= 1.0f && c.rope_base <= 1e12f)                                 \
  RULE("rope_scale", "must be 0.001 .. 1e6", c.rope_scale >= 1e-3f && c.rope_scale <= 1e6f)                           \
  RULE("norm_epsilon", "must be 0 .. 1", c.norm_epsilon >= 0.0f && c.norm_epsilon <= 1.0f)                            \
  RULE("experts", "must be at most 1024", c.experts <= kMaxExperts)                                                   \
  RULE("experts_per_token", "must be 1 .. experts, or 0 without experts",                                             \
       c.experts == 0 ? c.experts_per_token == 0 : c.experts_per_token >= 1 && c.experts_per_token <= c.experts)

// The first rule that the configuration breaks: kMismatch, naming the field.
constexpr Result<void> Validate(const ModelConfig& c) {
#define INLAY_DETAIL_RULE(field, message, condition) \
  if (!(condition)) return Fail(ErrorCode::kMismatch, field, message);
  INLAY_CONFIG_RULES(INLAY_DETAIL_RULE)
#undef INLAY_DETAIL_RULE
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_MODEL_CONFIG_HPP_

// --- inlay/config/known_models.hpp

// The published shapes of well-known models, for compile-time specialisation and for synthetic benchmark files.
// Sources: each model's config.json on its publisher's page; stories*: the llama2.c checkpoints' headers.
#ifndef INLAY_CONFIG_KNOWN_MODELS_HPP_
#define INLAY_CONFIG_KNOWN_MODELS_HPP_

#include <array>
#include <string_view>

INLAY_BEGIN_NAMESPACE

inline constexpr ModelConfig kStories260K{.dim = 64, .layers = 5, .heads = 8, .kv_heads = 4, .head_dim = 8,
                                          .ffn_dim = 172, .vocab = 512, .context = 512, .rope_dim = 8,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kStories15M{.dim = 288, .layers = 6, .heads = 6, .kv_heads = 6, .head_dim = 48,
                                         .ffn_dim = 768, .vocab = 32000, .context = 256, .rope_dim = 48,
                                         .tied_embeddings = true};
inline constexpr ModelConfig kStories42M{.dim = 512, .layers = 8, .heads = 8, .kv_heads = 8, .head_dim = 64,
                                         .ffn_dim = 1376, .vocab = 32000, .context = 1024, .rope_dim = 64,
                                         .tied_embeddings = true};
inline constexpr ModelConfig kStories110M{.dim = 768, .layers = 12, .heads = 12, .kv_heads = 12, .head_dim = 64,
                                          .ffn_dim = 2048, .vocab = 32000, .context = 1024, .rope_dim = 64,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kTinyLlama1_1B{.dim = 2048, .layers = 22, .heads = 32, .kv_heads = 4, .head_dim = 64,
                                            .ffn_dim = 5632, .vocab = 32000, .context = 2048, .rope_dim = 64};
inline constexpr ModelConfig kLlama2_7B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 32, .head_dim = 128,
                                        .ffn_dim = 11008, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama2_13B{.dim = 5120, .layers = 40, .heads = 40, .kv_heads = 40, .head_dim = 128,
                                         .ffn_dim = 13824, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama2_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                         .ffn_dim = 28672, .vocab = 32000, .context = 4096, .rope_dim = 128};
inline constexpr ModelConfig kLlama3_8B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                        .ffn_dim = 14336, .vocab = 128256, .context = 8192, .rope_dim = 128,
                                        .rope_base = 500000.0f};
inline constexpr ModelConfig kLlama3_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                         .ffn_dim = 28672, .vocab = 128256, .context = 8192, .rope_dim = 128,
                                         .rope_base = 500000.0f};
inline constexpr ModelConfig kLlama3_1_8B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                          .ffn_dim = 14336, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors};
inline constexpr ModelConfig kLlama3_1_70B{.dim = 8192, .layers = 80, .heads = 64, .kv_heads = 8, .head_dim = 128,
                                           .ffn_dim = 28672, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                           .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors};
inline constexpr ModelConfig kLlama3_2_1B{.dim = 2048, .layers = 16, .heads = 32, .kv_heads = 8, .head_dim = 64,
                                          .ffn_dim = 8192, .vocab = 128256, .context = 131072, .rope_dim = 64,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors,
                                          .tied_embeddings = true};
inline constexpr ModelConfig kLlama3_2_3B{.dim = 3072, .layers = 28, .heads = 24, .kv_heads = 8, .head_dim = 128,
                                          .ffn_dim = 8192, .vocab = 128256, .context = 131072, .rope_dim = 128,
                                          .rope_base = 500000.0f, .rope_scaling = RopeScaling::kFactors,
                                          .tied_embeddings = true};
// Mistral 7B: v0.2 (v0.1 differs in rope_base 10000 and window 4096; v0.3 in vocab 32768).
inline constexpr ModelConfig kMistral7B{.dim = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,
                                        .ffn_dim = 14336, .vocab = 32000, .context = 32768, .rope_dim = 128,
                                        .rope_base = 1000000.0f};
inline constexpr ModelConfig kSmolLM2_135M{.dim = 576, .layers = 30, .heads = 9, .kv_heads = 3, .head_dim = 64,
                                           .ffn_dim = 1536, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 100000.0f, .tied_embeddings = true};
inline constexpr ModelConfig kSmolLM2_360M{.dim = 960, .layers = 32, .heads = 15, .kv_heads = 5, .head_dim = 64,
                                           .ffn_dim = 2560, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 100000.0f, .tied_embeddings = true};
inline constexpr ModelConfig kSmolLM2_1_7B{.dim = 2048, .layers = 24, .heads = 32, .kv_heads = 32, .head_dim = 64,
                                           .ffn_dim = 8192, .vocab = 49152, .context = 8192, .rope_dim = 64,
                                           .rope_base = 130000.0f, .tied_embeddings = true};

struct KnownModel {
  std::string_view name;        // for people and command lines
  std::string_view identifier;  // the constant's name
  const ModelConfig* config;
};

inline constexpr std::array kKnownModels = {
    KnownModel{"stories260K", "kStories260K", &kStories260K},
    KnownModel{"stories15M", "kStories15M", &kStories15M},
    KnownModel{"stories42M", "kStories42M", &kStories42M},
    KnownModel{"stories110M", "kStories110M", &kStories110M},
    KnownModel{"tinyllama-1.1b", "kTinyLlama1_1B", &kTinyLlama1_1B},
    KnownModel{"llama-2-7b", "kLlama2_7B", &kLlama2_7B},
    KnownModel{"llama-2-13b", "kLlama2_13B", &kLlama2_13B},
    KnownModel{"llama-2-70b", "kLlama2_70B", &kLlama2_70B},
    KnownModel{"llama-3-8b", "kLlama3_8B", &kLlama3_8B},
    KnownModel{"llama-3-70b", "kLlama3_70B", &kLlama3_70B},
    KnownModel{"llama-3.1-8b", "kLlama3_1_8B", &kLlama3_1_8B},
    KnownModel{"llama-3.1-70b", "kLlama3_1_70B", &kLlama3_1_70B},
    KnownModel{"llama-3.2-1b", "kLlama3_2_1B", &kLlama3_2_1B},
    KnownModel{"llama-3.2-3b", "kLlama3_2_3B", &kLlama3_2_3B},
    KnownModel{"mistral-7b", "kMistral7B", &kMistral7B},
    KnownModel{"smollm2-135m", "kSmolLM2_135M", &kSmolLM2_135M},
    KnownModel{"smollm2-360m", "kSmolLM2_360M", &kSmolLM2_360M},
    KnownModel{"smollm2-1.7b", "kSmolLM2_1_7B", &kSmolLM2_1_7B},
};

// nullptr when no model of that name is known.
constexpr const KnownModel* FindKnownModel(std::string_view name) {
  for (const KnownModel& model : kKnownModels) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_KNOWN_MODELS_HPP_

// --- inlay/core/extents.hpp

// Dimensions that are either known to the compiler or read from a file, used by one and the same code.
#ifndef INLAY_CORE_EXTENTS_HPP_
#define INLAY_CORE_EXTENTS_HPP_

#include <concepts>
#include <cstddef>

INLAY_BEGIN_NAMESPACE

// A dimension fixed at compile time. Converts to std::size_t as a constant, so loops over it unroll.
template <std::size_t kValue>
struct StaticExtent {
  static constexpr std::size_t value = kValue;
  constexpr operator std::size_t() const { return kValue; }  // NOLINT: implicit by design
};

// A dimension known only when the program runs.
struct DynamicExtent {
  std::size_t value = 0;
  constexpr operator std::size_t() const { return value; }  // NOLINT: implicit by design
};

template <class T>
concept Extent = std::convertible_to<T, std::size_t> && requires(const T& t) { t.value; };

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_EXTENTS_HPP_

// --- inlay/config/spec.hpp

// Spec: how dimensions reach the code. One forward pass serves models whose dimensions the compiler knows and models
// that are read from a file.
#ifndef INLAY_CONFIG_SPEC_HPP_
#define INLAY_CONFIG_SPEC_HPP_

#include <cstddef>

INLAY_BEGIN_NAMESPACE

// Matrix widths up to this are compiled into the kernels of a static model. Wider products spend their time in memory
// and arithmetic, not in loop control (see docs/performance.md), and every width compiled in costs compile time.
inline constexpr std::size_t kMaxUnrolledColumns = 1024;

namespace detail {
template <std::size_t kColumns>
constexpr auto ColumnsExtent() {
  if constexpr (kColumns <= kMaxUnrolledColumns) {
    return StaticExtent<kColumns>{};
  } else {
    return DynamicExtent{kColumns};
  }
}
}  // namespace detail

// Every dimension a constant: the compiler folds them. A configuration that breaks a rule does not compile, and the
// message names the field.
template <ModelConfig kConfig>
struct StaticSpec {
#define INLAY_DETAIL_RULE(field, message, condition) \
  static_assert([](const ModelConfig& c) { return (condition); }(kConfig), "ModelConfig." field " " message);
  INLAY_CONFIG_RULES(INLAY_DETAIL_RULE)
#undef INLAY_DETAIL_RULE

  static constexpr bool kIsStatic = true;
  static constexpr const ModelConfig& config() { return kConfig; }

  // Columns of the matrices that read the residual stream, the attention output and the feed-forward network.
  static constexpr auto dim() { return detail::ColumnsExtent<kConfig.dim>(); }
  static constexpr auto q_dim() { return detail::ColumnsExtent<kConfig.q_dim()>(); }
  static constexpr auto ffn_dim() { return detail::ColumnsExtent<kConfig.ffn_dim>(); }
  static constexpr auto head_dim() { return StaticExtent<kConfig.head_dim>{}; }
};

// Dimensions read from a file. The configuration has passed Validate.
class DynamicSpec {
 public:
  static constexpr bool kIsStatic = false;

  constexpr explicit DynamicSpec(const ModelConfig& config) : config_(config) {}
  constexpr const ModelConfig& config() const { return config_; }

  constexpr DynamicExtent dim() const { return {config_.dim}; }
  constexpr DynamicExtent q_dim() const { return {config_.q_dim()}; }
  constexpr DynamicExtent ffn_dim() const { return {config_.ffn_dim}; }
  constexpr DynamicExtent head_dim() const { return {config_.head_dim}; }

 private:
  ModelConfig config_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CONFIG_SPEC_HPP_

// --- inlay/core/checked.hpp

// Overflow-safe size arithmetic: sizes that come from a file are combined only with these.
#ifndef INLAY_CORE_CHECKED_HPP_
#define INLAY_CORE_CHECKED_HPP_

#include <cstddef>
#include <cstdint>

INLAY_BEGIN_NAMESPACE

// out = a * b; false (and out untouched in meaning) when it does not fit.
constexpr bool CheckedMultiply(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
  return !__builtin_mul_overflow(a, b, &out);
}
constexpr bool CheckedAdd(std::uint64_t a, std::uint64_t b, std::uint64_t& out) {
  return !__builtin_add_overflow(a, b, &out);
}

// Rounds up to a multiple of `alignment` (any positive number). The caller knows that it cannot overflow.
constexpr std::size_t RoundUp(std::size_t value, std::size_t alignment) {
  return (value + alignment - 1) / alignment * alignment;
}
constexpr std::size_t DivideUp(std::size_t value, std::size_t divisor) { return (value + divisor - 1) / divisor; }

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_CHECKED_HPP_

// --- inlay/core/arena.hpp

// Hands out aligned pieces of memory that the caller owns. The library's only source of memory after set-up.
#ifndef INLAY_CORE_ARENA_HPP_
#define INLAY_CORE_ARENA_HPP_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>

INLAY_BEGIN_NAMESPACE

// Every piece starts at a multiple of this (a cache line, and the widest vector).
inline constexpr std::size_t kAlignment = 64;

// The bytes that `count` elements of T take in an arena: what memory plans add up, so that plan and arena cannot differ.
template <class T>
constexpr std::size_t ArenaBytes(std::size_t count) {
  return RoundUp(count * sizeof(T), kAlignment);
}

// A bump allocator. Does not own, free or clear. The memory handed over must start at a multiple of kAlignment
// (Arena::Create checks it).
class Arena {
 public:
  static Result<Arena> Create(std::span<std::byte> memory) {
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % kAlignment != 0) {
      return Fail(ErrorCode::kInvalidArgument, "memory", "must start at a multiple of ", kAlignment, " bytes");
    }
    return Arena(memory);
  }

  // `count` elements of T, uninitialised (T must be an implicit-lifetime type). kOutOfMemory when they do not fit;
  // then nothing was taken.
  template <class T>
  Result<std::span<T>> Allocate(std::size_t count, std::string_view what) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kAlignment);
    std::uint64_t bytes = 0;
    if (!CheckedMultiply(count, sizeof(T), bytes) || bytes > remaining()) {
      return Fail(ErrorCode::kOutOfMemory, what, "needs ", bytes, " bytes, the memory handed over has ", remaining(),
                  " left; see MemoryPlan");
    }
    const std::size_t taken = RoundUp(static_cast<std::size_t>(bytes), kAlignment);
    T* start = reinterpret_cast<T*>(memory_.data() + used_);
    used_ = taken > memory_.size() - used_ ? memory_.size() : used_ + taken;
    return std::span<T>(start, count);
  }

  std::size_t used() const { return used_; }
  std::size_t remaining() const { return memory_.size() - used_; }

 private:
  explicit Arena(std::span<std::byte> memory) : memory_(memory) {}

  std::span<std::byte> memory_;
  std::size_t used_ = 0;
};

// Has an arena's interface and hands out nothing: it counts. Set-up code is a template on its memory, so the plan of a
// session is computed by the very code that makes the session, at compile time if need be.
class MemoryCounter {
 public:
  template <class T>
  constexpr Result<std::span<T>> Allocate(std::size_t count, std::string_view) {
    used_ += ArenaBytes<T>(count);
    return std::span<T>();
  }
  constexpr std::size_t used() const { return used_; }

 private:
  std::size_t used_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_ARENA_HPP_

// --- inlay/core/executor.hpp

// How parallel work reaches the host's threads. The library starts no thread of its own: a host passes an executor.
#ifndef INLAY_CORE_EXECUTOR_HPP_
#define INLAY_CORE_EXECUTOR_HPP_

#include <concepts>
#include <cstddef>
#include <memory>
#include <type_traits>
#include <utility>

INLAY_BEGIN_NAMESPACE

// A reference to any callable, two pointers wide, no heap. The callable must outlive the call it is passed to.
template <class Signature>
class FunctionRef;

template <class R, class... Args>
class FunctionRef<R(Args...)> {
 public:
  template <class F>
    requires(!std::is_same_v<std::remove_cvref_t<F>, FunctionRef> && std::is_invocable_r_v<R, F&, Args...>)
  FunctionRef(F&& function)  // NOLINT: implicit by design
      // Not static_cast: a function's address converts to void* only so.
      : object_(const_cast<void*>(reinterpret_cast<const void*>(std::addressof(function)))),
        call_([](void* object, Args... args) -> R {
          return (*reinterpret_cast<std::remove_reference_t<F>*>(object))(std::forward<Args>(args)...);
        }) {}
  R operator()(Args... args) const { return call_(object_, std::forward<Args>(args)...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

// What the library needs of a host's threads: how many run at once, and a way to call f(0) ... f(n - 1), each exactly
// once, in any order and on any threads, returning when all are done. Run is not called from inside a task.
template <class E>
concept Executor = requires(E& e, std::size_t n, FunctionRef<void(std::size_t)> f) {
  { e.concurrency() } -> std::convertible_to<std::size_t>;
  e.Run(n, f);
};

// Everything on the calling thread.
struct SerialExecutor {
  static constexpr std::size_t concurrency() { return 1; }
  void Run(std::size_t n, FunctionRef<void(std::size_t)> f) const {
    for (std::size_t i = 0; i < n; ++i) f(i);
  }
};

// Any executor behind one type, so that a model is compiled once and not once per executor. Does not own.
class ExecutorRef {
 public:
  template <class E>
    requires(Executor<E> && !std::is_same_v<std::remove_cvref_t<E>, ExecutorRef>)
  ExecutorRef(E& executor)  // NOLINT: implicit by design
      : object_(const_cast<void*>(static_cast<const void*>(std::addressof(executor)))),
        concurrency_(executor.concurrency()),
        run_([](void* object, std::size_t n, FunctionRef<void(std::size_t)> f) {
          static_cast<E*>(object)->Run(n, f);
        }) {}

  std::size_t concurrency() const { return concurrency_; }
  // One task, or one thread, never pays for synchronisation.
  template <class F>
  void Run(std::size_t n, F&& f) const {
    if (n <= 1 || concurrency_ <= 1) {
      for (std::size_t i = 0; i < n; ++i) f(i);
    } else {
      run_(object_, n, FunctionRef<void(std::size_t)>(f));
    }
  }

 private:
  void* object_;
  std::size_t concurrency_;
  void (*run_)(void*, std::size_t, FunctionRef<void(std::size_t)>);
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_EXECUTOR_HPP_

// --- inlay/core/finite.hpp

// A test for finite numbers that holds under -ffast-math, where std::isfinite may be folded to true.
#ifndef INLAY_CORE_FINITE_HPP_
#define INLAY_CORE_FINITE_HPP_

#include <bit>
#include <cstdint>

INLAY_BEGIN_NAMESPACE

// False for NaN and infinities.
constexpr bool IsFinite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_FINITE_HPP_

// --- inlay/core/owned_buffer.hpp

// Memory for hosts that have a heap: one aligned, owned block. A convenience on top of the library, never used inside it.
#ifndef INLAY_CORE_OWNED_BUFFER_HPP_
#define INLAY_CORE_OWNED_BUFFER_HPP_

#include <cstddef>
#include <new>
#include <span>
#include <utility>

INLAY_BEGIN_NAMESPACE

// Owns `size` bytes that start at a multiple of kAlignment; uninitialised. Movable, not copyable.
class OwnedBuffer {
 public:
  OwnedBuffer() = default;
  OwnedBuffer(OwnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  OwnedBuffer& operator=(OwnedBuffer other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~OwnedBuffer() { ::operator delete(data_, std::align_val_t{kAlignment}); }

  // kOutOfMemory when the heap refuses. Never throws.
  static Result<OwnedBuffer> Create(std::size_t size, std::string_view what = "memory") {
    OwnedBuffer buffer;
    if (size != 0) {
      buffer.data_ = static_cast<std::byte*>(::operator new(size, std::align_val_t{kAlignment}, std::nothrow));
      if (buffer.data_ == nullptr) return Fail(ErrorCode::kOutOfMemory, what, "needs ", size, " bytes");
    }
    buffer.size_ = size;
    return buffer;
  }

  std::span<std::byte> bytes() { return {data_, size_}; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::size_t size() const { return size_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_OWNED_BUFFER_HPP_

// --- inlay/core/thread_pool.hpp

// A small thread pool for hosts that have none: workers spin briefly between tasks, then sleep.
//
// Apart from executor.hpp because it needs <thread>: firmware and single-threaded browsers never include it.
#ifndef INLAY_CORE_THREAD_POOL_HPP_
#define INLAY_CORE_THREAD_POOL_HPP_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

INLAY_BEGIN_NAMESPACE

namespace detail {
inline void SpinPause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || (defined(__arm__) && __ARM_ARCH >= 7)
  asm volatile("yield");
#endif
}
}  // namespace detail

// CPUs that this process may run on: the affinity mask where there is one (containers narrow it), else the hardware's.
inline std::size_t AvailableCpus() {
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    const int count = CPU_COUNT(&set);
    if (count > 0) return static_cast<std::size_t>(count);
  }
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count == 0 ? 1 : count;
}

// An Executor over `threads` threads, the caller's included. Tasks are claimed one by one from a shared counter, so a
// thread that the system delays does not hold up the rest. Run is called by one thread at a time. Between runs a worker
// spins for at most 50 us and then sleeps in the kernel; with more threads than CPUs it never spins (a spinning thread
// would take the CPU from one that works). No allocation or lock after construction.
class ThreadPool {
 public:
  explicit ThreadPool(std::size_t threads) : threads_(threads == 0 ? 1 : threads) {
    spin_ = threads_ <= AvailableCpus();
    if (threads_ > 1) workers_ = std::make_unique<std::thread[]>(threads_ - 1);
    for (std::size_t i = 0; i + 1 < threads_; ++i) workers_[i] = std::thread([this] { Work(); });
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  ~ThreadPool() {
    stop_.store(true, std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
    for (std::size_t i = 0; i + 1 < threads_; ++i) workers_[i].join();
  }

  std::size_t concurrency() const { return threads_; }

  void Run(std::size_t n, FunctionRef<void(std::size_t)> f) {
    if (threads_ == 1 || n <= 1) {
      for (std::size_t i = 0; i < n; ++i) f(i);
      return;
    }
    function_ = &f;
    count_ = n;
    next_.store(0, std::memory_order_relaxed);
    busy_.store(static_cast<std::uint32_t>(threads_ - 1), std::memory_order_relaxed);
    epoch_.fetch_add(1, std::memory_order_seq_cst);
    // A worker announces itself in sleepers_ before it checks the epoch for the last time: either it sees this epoch or
    // we see it here. The system call is skipped while everybody spins.
    if (sleepers_.load(std::memory_order_seq_cst) != 0) epoch_.notify_all();
    Drain();
    WaitUntil([this] { return busy_.load(std::memory_order_acquire) == 0; });
    for (std::uint32_t left = busy_.load(std::memory_order_acquire); left != 0;
         left = busy_.load(std::memory_order_acquire)) {
      busy_.wait(left, std::memory_order_acquire);
    }
  }

 private:
  static constexpr std::chrono::microseconds kSpinTime{50};

  void Drain() {
    for (std::size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
         i = next_.fetch_add(1, std::memory_order_relaxed)) {
      (*function_)(i);
    }
  }

  // Spins until the condition holds or the time is up. The clock is read once in 64 rounds: it costs more than a pause.
  template <class Condition>
  bool WaitUntil(Condition condition) const {
    if (condition()) return true;
    if (!spin_) return false;
    const auto deadline = std::chrono::steady_clock::now() + kSpinTime;
    for (;;) {
      for (int i = 0; i < 64; ++i) {
        detail::SpinPause();
        if (condition()) return true;
      }
      if (std::chrono::steady_clock::now() >= deadline) return false;
    }
  }

  void Work() {
    std::uint32_t seen = 0;
    for (;;) {
      if (!WaitUntil([&] { return epoch_.load(std::memory_order_acquire) != seen; })) {
        sleepers_.fetch_add(1, std::memory_order_seq_cst);
        while (epoch_.load(std::memory_order_seq_cst) == seen) epoch_.wait(seen, std::memory_order_seq_cst);
        sleepers_.fetch_sub(1, std::memory_order_relaxed);
      }
      ++seen;
      if (stop_.load(std::memory_order_relaxed)) return;
      Drain();
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
    }
  }

  std::size_t threads_;
  bool spin_ = true;
  std::unique_ptr<std::thread[]> workers_;
  const FunctionRef<void(std::size_t)>* function_ = nullptr;
  std::size_t count_ = 0;
  // Each on its own cache line: workers hammer next_ while the caller watches busy_.
  alignas(64) std::atomic<std::uint32_t> epoch_{0};
  alignas(64) std::atomic<std::size_t> next_{0};
  alignas(64) std::atomic<std::uint32_t> busy_{0};
  alignas(64) std::atomic<std::uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
};

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_THREAD_POOL_HPP_

// --- inlay/core/token.hpp

// The number of a token: shared by the model, which computes with it, and the text layer, which spells it.
#ifndef INLAY_CORE_TOKEN_HPP_
#define INLAY_CORE_TOKEN_HPP_

#include <cstdint>

INLAY_BEGIN_NAMESPACE

// An index into the vocabulary. Signed, as in every file format that stores one, so that -1 can say "none".
using TokenId = std::int32_t;

inline constexpr TokenId kNoToken = -1;

INLAY_END_NAMESPACE

#endif  // INLAY_CORE_TOKEN_HPP_

// --- inlay/formats/weight_type.hpp

// The weight types of GGUF: names, numbers on disk and block sizes. The one table every other part looks things up in.
// Source: ggml's type numbering and the GGUF specification.
#ifndef INLAY_FORMATS_WEIGHT_TYPE_HPP_
#define INLAY_FORMATS_WEIGHT_TYPE_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// Values are GGUF's tensor type ids.
enum class WeightType : std::uint8_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kI8 = 24,
  kBF16 = 30,
};

struct WeightTypeInfo {
  WeightType type;
  std::string_view name;      // as GGUF tools print it
  std::uint16_t block_values;  // values per block; a row holds whole blocks
  std::uint16_t block_bytes;
  bool multiplies;  // has kernels: may be a weight matrix
};

inline constexpr std::array kWeightTypes = {
    WeightTypeInfo{WeightType::kF32, "F32", 1, 4, true},      WeightTypeInfo{WeightType::kF16, "F16", 1, 2, true},
    WeightTypeInfo{WeightType::kBF16, "BF16", 1, 2, true},    WeightTypeInfo{WeightType::kQ8_0, "Q8_0", 32, 34, true},
    WeightTypeInfo{WeightType::kQ4_0, "Q4_0", 32, 18, true},  WeightTypeInfo{WeightType::kQ4_1, "Q4_1", 32, 20, true},
    WeightTypeInfo{WeightType::kQ5_0, "Q5_0", 32, 22, true},  WeightTypeInfo{WeightType::kQ5_1, "Q5_1", 32, 24, true},
    WeightTypeInfo{WeightType::kQ4_K, "Q4_K", 256, 144, true}, WeightTypeInfo{WeightType::kQ5_K, "Q5_K", 256, 176, true},
    WeightTypeInfo{WeightType::kQ6_K, "Q6_K", 256, 210, true}, WeightTypeInfo{WeightType::kI8, "I8", 1, 1, false},
};

// nullptr when the library does not know the type.
constexpr const WeightTypeInfo* FindWeightType(std::uint32_t id) {
  for (const WeightTypeInfo& info : kWeightTypes) {
    if (static_cast<std::uint32_t>(info.type) == id) return &info;
  }
  return nullptr;
}
constexpr const WeightTypeInfo* FindWeightType(std::string_view name) {
  for (const WeightTypeInfo& info : kWeightTypes) {
    if (info.name == name) return &info;
  }
  return nullptr;
}
constexpr const WeightTypeInfo& Info(WeightType type) { return *FindWeightType(static_cast<std::uint32_t>(type)); }
constexpr std::string_view Name(WeightType type) { return Info(type).name; }

// The name of a type that GGUF defines and this library does not read, for messages; empty for others.
constexpr std::string_view NameOfUnreadType(std::uint32_t id) {
  switch (id) {
    case 9: return "Q8_1";
    case 10: return "Q2_K";
    case 11: return "Q3_K";
    case 15: return "Q8_K";
    case 16: return "IQ2_XXS";
    case 17: return "IQ2_XS";
    case 18: return "IQ3_XXS";
    case 19: return "IQ1_S";
    case 20: return "IQ4_NL";
    case 21: return "IQ3_S";
    case 22: return "IQ2_S";
    case 23: return "IQ4_XS";
    case 25: return "I16";
    case 26: return "I32";
    case 27: return "I64";
    case 28: return "F64";
    case 29: return "IQ1_M";
    case 34: return "TQ1_0";
    case 35: return "TQ2_0";
    case 39: return "MXFP4";
    case 40: return "NVFP4";
    case 41: return "Q1_0";
    case 42: return "Q2_0";
    default: return {};
  }
}

// Bytes of one row of `cols` values in the file's own (row-major, blocked) order; cols is a multiple of block_values.
constexpr std::size_t RowBytes(WeightType type, std::size_t cols) {
  return cols / Info(type).block_values * Info(type).block_bytes;
}

// A closed list of weight types: what a model type is compiled for. Formats<WeightType::kQ4_K, WeightType::kF32>.
template <WeightType... kTypes>
struct Formats {
  static constexpr std::array<WeightType, sizeof...(kTypes)> kList = {kTypes...};
  static constexpr bool Contains(WeightType type) { return ((type == kTypes) || ...); }
};

// Every type that has kernels.
using AllFormats = Formats<WeightType::kF32, WeightType::kF16, WeightType::kBF16, WeightType::kQ8_0, WeightType::kQ4_0,
                           WeightType::kQ4_1, WeightType::kQ5_0, WeightType::kQ5_1, WeightType::kQ4_K, WeightType::kQ5_K,
                           WeightType::kQ6_K>;

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_WEIGHT_TYPE_HPP_

// --- inlay/formats/blocks.hpp

// The quantised blocks as they lie in a file, one struct per type. What the bits mean is defined in codec.hpp.
// Source: the GGUF specification and ggml's type definitions.
#ifndef INLAY_FORMATS_BLOCKS_HPP_
#define INLAY_FORMATS_BLOCKS_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>

INLAY_BEGIN_NAMESPACE

// Files are little-endian and their numbers are used in place.
static_assert(std::endian::native == std::endian::little, "inlay reads weights in place: little-endian targets only");

// Scales (d, m, dmin) are binary16 bit patterns. A block in a file need not be aligned: copy it out with memcpy.

// 32 values in -127 .. 127, value = d * q.
struct BlockQ8_0 {
  std::uint16_t d;
  std::int8_t qs[32];
};

// 32 values of 4 bits, value = d * (q - 8). Byte j: value j in the low nibble, value j + 16 in the high one.
struct BlockQ4_0 {
  std::uint16_t d;
  std::uint8_t qs[16];
};

// As Q4_0 with an offset: value = d * q + m.
struct BlockQ4_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qs[16];
};

// 32 values of 5 bits, value = d * (q - 16). Nibbles as Q4_0; bit j of the little-endian qh is the fifth of value j.
struct BlockQ5_0 {
  std::uint16_t d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

// As Q5_0 with an offset: value = d * q + m.
struct BlockQ5_1 {
  std::uint16_t d;
  std::uint16_t m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};

// 256 values in 8 groups of 32, value = d * scale * q - dmin * min, q of 4 bits; scale and min of 6 bits per group,
// packed as codec.hpp's GroupScales. qs: 64 values per 32 bytes, group 2i in the low nibbles, 2i + 1 in the high ones.
struct BlockQ4_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qs[128];
};

// As Q4_K with q of 5 bits: bit g of qh[j] is the fifth bit of value j of group g.
struct BlockQ5_K {
  std::uint16_t d;
  std::uint16_t dmin;
  std::uint8_t scales[12];
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};

// 256 values in 16 groups of 16, value = d * scale * (q - 32), q of 6 bits. In each half of 128 values, ql holds the
// low nibbles (bytes 0..63: values 0..63 low, 64..127 high) and qh the upper two bits (byte j: j + 0, 32, 64, 96).
struct BlockQ6_K {
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  std::uint16_t d;
};

static_assert(sizeof(BlockQ8_0) == Info(WeightType::kQ8_0).block_bytes);
static_assert(sizeof(BlockQ4_0) == Info(WeightType::kQ4_0).block_bytes);
static_assert(sizeof(BlockQ4_1) == Info(WeightType::kQ4_1).block_bytes);
static_assert(sizeof(BlockQ5_0) == Info(WeightType::kQ5_0).block_bytes);
static_assert(sizeof(BlockQ5_1) == Info(WeightType::kQ5_1).block_bytes);
static_assert(sizeof(BlockQ4_K) == Info(WeightType::kQ4_K).block_bytes);
static_assert(sizeof(BlockQ5_K) == Info(WeightType::kQ5_K).block_bytes);
static_assert(sizeof(BlockQ6_K) == Info(WeightType::kQ6_K).block_bytes);

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_BLOCKS_HPP_

// --- inlay/formats/finite.hpp

// Finds NaN and infinity in weights, without decoding them: in a quantised block only the scales can be non-finite.
#ifndef INLAY_FORMATS_FINITE_HPP_
#define INLAY_FORMATS_FINITE_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>

INLAY_BEGIN_NAMESPACE

inline constexpr std::size_t kAllFinite = std::numeric_limits<std::size_t>::max();

namespace detail {

// The byte of the first number of type Bits, `at` in each block of `stride` bytes, whose exponent bits are all set.
template <class Bits>
std::size_t FindFullExponent(std::span<const std::byte> data, std::size_t stride, std::size_t at, Bits exponent) {
  for (std::size_t i = at; i + sizeof(Bits) <= data.size(); i += stride) {
    Bits bits = 0;
    std::memcpy(&bits, data.data() + i, sizeof(Bits));
    if ((bits & exponent) == exponent) return i;
  }
  return kAllFinite;
}

}  // namespace detail

// The byte offset in `data` (whole blocks of `type`) of a value or scale that is NaN or infinite; kAllFinite when there
// is none. Integers are finite.
inline std::size_t FindNonFinite(WeightType type, std::span<const std::byte> data) {
  constexpr std::uint16_t kF16Exponent = 0x7C00;
  const auto in_blocks = [&](std::size_t stride, std::size_t at) {
    return detail::FindFullExponent<std::uint16_t>(data, stride, at, kF16Exponent);
  };
  const auto first_of = [](std::size_t a, std::size_t b) { return a < b ? a : b; };
  switch (type) {
    case WeightType::kF32: return detail::FindFullExponent<std::uint32_t>(data, 4, 0, 0x7F800000u);
    case WeightType::kBF16: return detail::FindFullExponent<std::uint16_t>(data, 2, 0, std::uint16_t{0x7F80});
    case WeightType::kF16: return in_blocks(2, 0);
    case WeightType::kQ8_0: return in_blocks(sizeof(BlockQ8_0), offsetof(BlockQ8_0, d));
    case WeightType::kQ4_0: return in_blocks(sizeof(BlockQ4_0), offsetof(BlockQ4_0, d));
    case WeightType::kQ5_0: return in_blocks(sizeof(BlockQ5_0), offsetof(BlockQ5_0, d));
    case WeightType::kQ6_K: return in_blocks(sizeof(BlockQ6_K), offsetof(BlockQ6_K, d));
    case WeightType::kQ4_1:
      return first_of(in_blocks(sizeof(BlockQ4_1), offsetof(BlockQ4_1, d)),
                      in_blocks(sizeof(BlockQ4_1), offsetof(BlockQ4_1, m)));
    case WeightType::kQ5_1:
      return first_of(in_blocks(sizeof(BlockQ5_1), offsetof(BlockQ5_1, d)),
                      in_blocks(sizeof(BlockQ5_1), offsetof(BlockQ5_1, m)));
    case WeightType::kQ4_K:
      return first_of(in_blocks(sizeof(BlockQ4_K), offsetof(BlockQ4_K, d)),
                      in_blocks(sizeof(BlockQ4_K), offsetof(BlockQ4_K, dmin)));
    case WeightType::kQ5_K:
      return first_of(in_blocks(sizeof(BlockQ5_K), offsetof(BlockQ5_K, d)),
                      in_blocks(sizeof(BlockQ5_K), offsetof(BlockQ5_K, dmin)));
    case WeightType::kI8: break;
  }
  return kAllFinite;
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_FINITE_HPP_

// --- inlay/files/gguf.hpp

// Reads GGUF: metadata and tensors of a model file, as views into bytes that the caller has (mapped, in flash, in
// memory). Everything is validated when the file is opened, so that access afterwards cannot fail on the file's
// account. Source: the GGUF specification (ggml project), versions 2 and 3, little-endian.
#ifndef INLAY_FILES_GGUF_HPP_
#define INLAY_FILES_GGUF_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

INLAY_BEGIN_NAMESPACE

// Multi-byte numbers are read in place.
static_assert(std::endian::native == std::endian::little, "GGUF is read in place: little-endian targets only");

// Values are GGUF's metadata type numbers.
enum class GgufType : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

constexpr std::string_view Name(GgufType type) {
  switch (type) {
    case GgufType::kU8: return "u8";
    case GgufType::kI8: return "i8";
    case GgufType::kU16: return "u16";
    case GgufType::kI16: return "i16";
    case GgufType::kU32: return "u32";
    case GgufType::kI32: return "i32";
    case GgufType::kF32: return "f32";
    case GgufType::kBool: return "bool";
    case GgufType::kString: return "string";
    case GgufType::kArray: return "array";
    case GgufType::kU64: return "u64";
    case GgufType::kI64: return "i64";
    case GgufType::kF64: return "f64";
  }
  return "unknown";
}

// Bytes of a value whose size its type fixes; 0 for strings, arrays and unknown types.
constexpr std::size_t FixedSize(GgufType type) {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool: return 1;
    case GgufType::kU16:
    case GgufType::kI16: return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32: return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64: return 8;
    case GgufType::kString:
    case GgufType::kArray: break;
  }
  return 0;
}

// The GGUF type that holds a T.
template <class T>
consteval GgufType GgufTypeOf() {
  if constexpr (std::is_same_v<T, bool>) {
    return GgufType::kBool;
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8);
    return sizeof(T) == 4 ? GgufType::kF32 : GgufType::kF64;
  } else {
    static_assert(std::is_integral_v<T>, "GGUF arrays hold integers, floats, bools or strings");
    constexpr GgufType kUnsigned[] = {GgufType::kU8, GgufType::kU16, GgufType::kU32, GgufType::kU64};
    constexpr GgufType kSigned[] = {GgufType::kI8, GgufType::kI16, GgufType::kI32, GgufType::kI64};
    constexpr int kIndex = std::countr_zero(sizeof(T));
    return std::is_signed_v<T> ? kSigned[kIndex] : kUnsigned[kIndex];
  }
}

// What files of this library and of ggml agree on.
inline constexpr std::uint32_t kGgufMagic = 0x46554747;  // "GGUF"
inline constexpr std::size_t kGgufDefaultAlignment = 32;
inline constexpr std::size_t kGgufMinAlignment = 8;
inline constexpr std::size_t kGgufMaxAlignment = std::size_t{1} << 20;
inline constexpr std::uint32_t kGgufMaxDims = 4;
inline constexpr std::size_t kGgufMaxNameBytes = 65535;  // of keys and tensor names
inline constexpr std::string_view kGgufAlignmentKey = "general.alignment";

namespace detail {

template <class T>
T LoadAs(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

// A string as GGUF stores it (64-bit length, bytes), at a place where it is known to be complete.
inline std::string_view GgufStringAt(const std::byte* from) {
  return {reinterpret_cast<const char*>(from + 8), static_cast<std::size_t>(LoadAs<std::uint64_t>(from))};
}

// Well-formed UTF-8 (no overlong forms, surrogates or values beyond U+10FFFF) without NUL.
inline bool IsPlainUtf8(std::string_view text) {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  for (std::size_t i = 0; i < text.size();) {
    const unsigned lead = byte_at(i);
    if (lead == 0) return false;
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() - i < length) return false;
    for (std::size_t k = 1; k < length; ++k) {
      if ((byte_at(i + k) & 0xC0) != 0x80) return false;
    }
    const unsigned second = byte_at(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) || (lead == 0xF0 && second < 0x90) ||
        (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += length;
  }
  return true;
}

// Reads forward through bytes; every step says whether it stayed inside.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes, std::uint64_t at = 0) : bytes_(bytes), at_(at) {}

  std::uint64_t at() const { return at_; }
  std::uint64_t remaining() const { return bytes_.size() - at_; }
  const std::byte* here() const { return bytes_.data() + at_; }

  [[nodiscard]] bool Skip(std::uint64_t count) {
    if (count > remaining()) return false;
    at_ += count;
    return true;
  }
  template <class T>
  [[nodiscard]] bool Read(T& value) {
    if (remaining() < sizeof(T)) return false;
    value = LoadAs<T>(here());
    at_ += sizeof(T);
    return true;
  }
  [[nodiscard]] bool ReadString(std::string_view& text) {
    std::uint64_t length = 0;
    if (!Read(length) || length > remaining()) return false;
    text = {reinterpret_cast<const char*>(here()), static_cast<std::size_t>(length)};
    at_ += length;
    return true;
  }

 private:
  std::span<const std::byte> bytes_;
  std::uint64_t at_;
};

// Sorts indices by a key in place: O(n log n) for every input, no recursion, no memory.
template <class Less>
void SortIndices(std::span<std::uint32_t> indices, Less less) {
  std::make_heap(indices.begin(), indices.end(), less);
  std::sort_heap(indices.begin(), indices.end(), less);
}

}  // namespace detail

// The strings of an array, in order. Each step is O(1); there is no random access, because lengths vary.
class GgufStrings {
 public:
  class Iterator {
   public:
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::forward_iterator_tag;

    Iterator() = default;
    Iterator(const std::byte* at, std::uint64_t left) : at_(at), left_(left) {}
    std::string_view operator*() const { return detail::GgufStringAt(at_); }
    Iterator& operator++() {
      at_ += 8 + (**this).size();
      --left_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    const std::byte* at_ = nullptr;
    std::uint64_t left_ = 0;
  };

  GgufStrings(const std::byte* first, std::uint64_t count) : first_(first), count_(count) {}
  Iterator begin() const { return {first_, count_}; }
  Iterator end() const { return {nullptr, 0}; }
  std::uint64_t size() const { return count_; }

 private:
  const std::byte* first_;
  std::uint64_t count_;
};

// An array value. Views the file.
struct GgufArray {
  GgufType element;
  std::uint64_t count;
  std::uint64_t offset;              // of the first element in the file
  std::span<const std::byte> bytes;  // the elements as stored

  // Element i of an array whose element type is that of T (the caller has asked for it, see GetArray); i < count.
  template <class T>
  T at(std::uint64_t i) const {
    INLAY_ASSERT(element == GgufTypeOf<T>() && i < count);
    return detail::LoadAs<T>(bytes.data() + i * sizeof(T));
  }
  // The elements of an array of strings.
  GgufStrings strings() const {
    INLAY_ASSERT(element == GgufType::kString);
    return {bytes.data(), count};
  }
};

// One metadata value. Views the file. The As... accessors fail with kMismatch, naming the key, when the value is of
// another type or does not fit.
struct GgufValue {
  std::string_view key;
  GgufType type;
  std::uint64_t offset;                // of the value in the file
  std::span<const std::byte> encoded;  // the value as stored (an array with its element type and count)

  // Any integer type, 0 .. most.
  Result<std::uint64_t> AsUnsigned(std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const {
    const std::byte* from = encoded.data();
    std::uint64_t value = 0;
    std::int64_t with_sign = 0;
    switch (type) {
      case GgufType::kU8: value = detail::LoadAs<std::uint8_t>(from); break;
      case GgufType::kU16: value = detail::LoadAs<std::uint16_t>(from); break;
      case GgufType::kU32: value = detail::LoadAs<std::uint32_t>(from); break;
      case GgufType::kU64: value = detail::LoadAs<std::uint64_t>(from); break;
      case GgufType::kI8: with_sign = detail::LoadAs<std::int8_t>(from); break;
      case GgufType::kI16: with_sign = detail::LoadAs<std::int16_t>(from); break;
      case GgufType::kI32: with_sign = detail::LoadAs<std::int32_t>(from); break;
      case GgufType::kI64: with_sign = detail::LoadAs<std::int64_t>(from); break;
      default: return WrongType("an integer");
    }
    if (with_sign < 0) return FailAt(ErrorCode::kMismatch, offset, key, "is ", with_sign, ", must not be negative");
    if (with_sign > 0) value = static_cast<std::uint64_t>(with_sign);
    if (value > most) return FailAt(ErrorCode::kMismatch, offset, key, "is ", value, ", must be at most ", most);
    return value;
  }
  // f32, or f64 rounded to float. May be NaN or infinite: the file may hold any float.
  Result<float> AsFloat() const {
    if (type == GgufType::kF32) return detail::LoadAs<float>(encoded.data());
    if (type == GgufType::kF64) return static_cast<float>(detail::LoadAs<double>(encoded.data()));
    return WrongType("a float");
  }
  Result<bool> AsBool() const {
    if (type == GgufType::kBool) return encoded[0] != std::byte{0};
    return WrongType("a bool");
  }
  // Any bytes; GGUF says UTF-8, but this is checked only for keys and names.
  Result<std::string_view> AsString() const {
    if (type == GgufType::kString) return detail::GgufStringAt(encoded.data());
    return WrongType("a string");
  }
  Result<GgufArray> AsArray() const {
    if (type != GgufType::kArray) return WrongType("an array");
    return GgufArray{static_cast<GgufType>(detail::LoadAs<std::uint32_t>(encoded.data())),
                     detail::LoadAs<std::uint64_t>(encoded.data() + 4), offset + 12, encoded.subspan(12)};
  }
  Result<GgufArray> AsArray(GgufType element) const {
    INLAY_ASSIGN_OR_RETURN(const GgufArray array, AsArray());
    if (array.element != element) {
      return FailAt(ErrorCode::kMismatch, offset, key, "is an array of ", Name(array.element), ", must be one of ",
                    Name(element));
    }
    return array;
  }

 private:
  Error WrongType(std::string_view wanted) const {
    return FailAt(ErrorCode::kMismatch, offset, key, "is of type ", Name(type), ", must be ", wanted);
  }
};

// One tensor. Views the file. Its values are dims[3] x dims[2] x dims[1] rows of dims[0] values each.
struct GgufTensor {
  std::string_view name;
  std::uint32_t type_id;                         // as stored
  const WeightTypeInfo* type;                    // nullptr: a type that this library does not know
  std::uint32_t n_dims;                          // 1 .. 4
  std::array<std::uint64_t, kGgufMaxDims> dims;  // all >= 1; those from n_dims on are 1
  std::uint64_t offset;                          // of the data in the file
  std::span<const std::byte> data;               // empty for an unknown type: its size is unknown
  std::uint64_t record;                          // of the tensor's description in the file

  std::uint64_t cols() const { return dims[0]; }
  std::uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
};

// An opened file: a small view, cheap to copy, of the file's bytes and of the index made at Open. Both must outlive it.
class GgufFile {
 public:
  // Arena bytes that Open takes at most; never more than file.size() + 256. Reads the header only; any input is fine.
  static std::size_t IndexBytes(std::span<const std::byte> file) {
    if (file.size() < kHeaderBytes) return 0;
    const std::uint64_t tensors = detail::LoadAs<std::uint64_t>(file.data() + 8);
    const std::uint64_t values = detail::LoadAs<std::uint64_t>(file.data() + 16);
    if (!CountsFit(file.size(), tensors, values)) return 0;
    return ArenaBytes<std::uint64_t>(static_cast<std::size_t>(values) + 1) +
           ArenaBytes<std::uint32_t>(static_cast<std::size_t>(values)) +
           ArenaBytes<std::uint64_t>(static_cast<std::size_t>(tensors)) +
           ArenaBytes<std::uint32_t>(static_cast<std::size_t>(tensors));
  }

  // Validates the whole structure: every length, count, type, name, shape and place is checked before it is used. The
  // tensors' values are not looked at (see CheckFinite) and no byte of their data is read. A tensor of a type that this
  // library does not know is no error here: it is listed with type == nullptr.
  //
  // Errors name the field and the byte: kBadFile, kTruncated, kUnsupported (version, big-endian, a split file, a nested
  // array), kTooLarge, kOutOfMemory (index smaller than IndexBytes); the arena is then as it was.
  // Cost: O(header bytes * log entries), no recursion.
  static Result<GgufFile> Open(std::span<const std::byte> file, Arena& index) {
    const Arena before = index;
    GgufFile opened;
    if (const Result<void> read = opened.ReadAll(file, index); !read) {
      index = before;
      return read.error();
    }
    return opened;
  }

  std::span<const std::byte> bytes() const { return file_; }
  std::uint32_t version() const { return version_; }
  // Tensor data starts at multiples of this.
  std::size_t alignment() const { return alignment_; }
  // Where tensor data begins in the file.
  std::uint64_t data_offset() const { return data_offset_; }

  std::size_t metadata_count() const { return value_by_key_.size(); }
  // Value i in the file's order; O(1).
  GgufValue metadata(std::size_t i) const {
    INLAY_ASSERT(i < metadata_count());
    const std::uint64_t record = value_records_[i];
    const std::string_view key = detail::GgufStringAt(file_.data() + record);
    const std::uint64_t type_at = record + 8 + key.size();
    const std::uint64_t offset = type_at + 4;
    return {key, static_cast<GgufType>(detail::LoadAs<std::uint32_t>(file_.data() + type_at)), offset,
            file_.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(value_records_[i + 1] - offset))};
  }
  // O(log metadata_count).
  std::optional<GgufValue> Find(std::string_view key) const {
    const auto found = std::lower_bound(value_by_key_.begin(), value_by_key_.end(), key,
                                        [this](std::uint32_t i, std::string_view wanted) { return KeyOf(i) < wanted; });
    if (found == value_by_key_.end() || KeyOf(*found) != key) return std::nullopt;
    return metadata(*found);
  }

  // Find and convert: kMissing when the key is absent, kMismatch when its value is of another type or too large.
  Result<std::uint64_t> GetUnsigned(std::string_view key,
                                    std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const {
    INLAY_ASSIGN_OR_RETURN(const GgufValue value, Require(key));
    return value.AsUnsigned(most);
  }
  Result<float> GetFloat(std::string_view key) const {
    INLAY_ASSIGN_OR_RETURN(const GgufValue value, Require(key));
    return value.AsFloat();
  }
  Result<bool> GetBool(std::string_view key) const {
    INLAY_ASSIGN_OR_RETURN(const GgufValue value, Require(key));
    return value.AsBool();
  }
  Result<std::string_view> GetString(std::string_view key) const {
    INLAY_ASSIGN_OR_RETURN(const GgufValue value, Require(key));
    return value.AsString();
  }
  Result<GgufArray> GetArray(std::string_view key, GgufType element) const {
    INLAY_ASSIGN_OR_RETURN(const GgufValue value, Require(key));
    return value.AsArray(element);
  }

  std::size_t tensor_count() const { return tensor_records_.size(); }
  // Tensor i in the file's order; O(1).
  GgufTensor tensor(std::size_t i) const {
    INLAY_ASSERT(i < tensor_count());
    const std::uint64_t record = tensor_records_[i];
    const std::byte* from = file_.data() + record;
    GgufTensor tensor{};
    tensor.record = record;
    tensor.name = detail::GgufStringAt(from);
    from += 8 + tensor.name.size();
    tensor.n_dims = detail::LoadAs<std::uint32_t>(from);
    tensor.dims = {1, 1, 1, 1};
    for (std::uint32_t d = 0; d < tensor.n_dims; ++d) tensor.dims[d] = detail::LoadAs<std::uint64_t>(from + 4 + 8 * d);
    from += 4 + 8 * tensor.n_dims;
    tensor.type_id = detail::LoadAs<std::uint32_t>(from);
    tensor.type = FindWeightType(tensor.type_id);
    tensor.offset = data_offset_ + detail::LoadAs<std::uint64_t>(from + 4);
    if (tensor.type != nullptr) {
      const std::uint64_t bytes = tensor.cols() / tensor.type->block_values * tensor.type->block_bytes * tensor.rows();
      tensor.data = file_.subspan(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(bytes));
    }
    return tensor;
  }
  // O(log tensor_count).
  std::optional<GgufTensor> FindTensor(std::string_view name) const {
    const auto found =
        std::lower_bound(tensor_by_name_.begin(), tensor_by_name_.end(), name,
                         [this](std::uint32_t i, std::string_view wanted) { return TensorName(i) < wanted; });
    if (found == tensor_by_name_.end() || TensorName(*found) != name) return std::nullopt;
    return tensor(*found);
  }

  // Reads every tensor of a known floating-point or quantised type: kNonFinite, naming the tensor and the byte, when a
  // value or a block's scale is NaN or infinite. For files that are not trusted; costs one pass over the file.
  Result<void> CheckFinite() const {
    for (std::size_t i = 0; i < tensor_count(); ++i) {
      const GgufTensor checked = tensor(i);
      if (checked.type == nullptr) continue;
      const std::size_t at = FindNonFinite(checked.type->type, checked.data);
      if (at != kAllFinite) {
        return FailAt(ErrorCode::kNonFinite, checked.offset + at, TensorField(checked.name).view(),
                      checked.type->block_values == 1 ? "a value" : "a block's scale", " is NaN or infinite");
      }
    }
    return {};
  }

 private:
  static constexpr std::size_t kHeaderBytes = 24;
  // The shortest records: key of one byte with a one-byte value; name of one byte with one dimension. They bound the
  // counts by the file's size before anything is allocated, and are larger than what the index keeps per entry.
  static constexpr std::uint64_t kMinValueBytes = 8 + 1 + 4 + 1;
  static constexpr std::uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
  static_assert(kMinValueBytes >= sizeof(std::uint64_t) + sizeof(std::uint32_t));
  static_assert(kMinTensorBytes >= sizeof(std::uint64_t) + sizeof(std::uint32_t));

  GgufFile() = default;

  static bool CountsFit(std::uint64_t file_bytes, std::uint64_t tensors, std::uint64_t values) {
    const std::uint64_t room = file_bytes - kHeaderBytes;
    constexpr std::uint64_t kMostEntries = std::numeric_limits<std::uint32_t>::max() / 2;
    if (tensors > kMostEntries || values > kMostEntries) return false;
    return tensors * kMinTensorBytes + values * kMinValueBytes <= room;
  }

  static TextBuffer<96> TensorField(std::string_view name) { return TextBuffer<96>("tensor ", name); }

  std::string_view KeyOf(std::uint32_t i) const { return detail::GgufStringAt(file_.data() + value_records_[i]); }
  std::string_view TensorName(std::uint32_t i) const { return detail::GgufStringAt(file_.data() + tensor_records_[i]); }

  Result<GgufValue> Require(std::string_view key) const {
    if (const std::optional<GgufValue> value = Find(key)) return *value;
    return Fail(ErrorCode::kMissing, key, "the file's metadata has no such key");
  }

  Result<void> ReadAll(std::span<const std::byte> file, Arena& index) {
    file_ = file;
    INLAY_CHECK_OK(ReadHeader(index));
    detail::ByteReader reader(file, kHeaderBytes);
    INLAY_CHECK_OK(ReadMetadata(reader));
    INLAY_CHECK_OK(ReadAlignment());
    INLAY_CHECK_OK(RefuseSplit());
    INLAY_CHECK_OK(ReadTensors(reader));
    INLAY_CHECK_OK(CheckOverlaps());
    return SortTensorNames();
  }

  Result<void> ReadHeader(Arena& index) {
    if (file_.size() < kHeaderBytes) {
      return FailAt(ErrorCode::kTruncated, file_.size(), "header", "a GGUF file has at least ", kHeaderBytes, " bytes");
    }
    const std::uint32_t magic = detail::LoadAs<std::uint32_t>(file_.data());
    if (magic == __builtin_bswap32(kGgufMagic)) {
      return FailAt(ErrorCode::kUnsupported, 0, "magic",
                    "is that of a big-endian GGUF file; convert it to little-endian");
    }
    if (magic != kGgufMagic) return FailAt(ErrorCode::kBadFile, 0, "magic", "is not \"GGUF\"");
    version_ = detail::LoadAs<std::uint32_t>(file_.data() + 4);
    // Big-endian files mostly keep the magic as it is; the version shows it.
    if ((version_ & 0xFFFFu) == 0 && version_ != 0) {
      return FailAt(ErrorCode::kUnsupported, 4, "version",
                    "is that of a big-endian GGUF file; convert it to little-endian");
    }
    if (version_ != 2 && version_ != 3) {
      return FailAt(ErrorCode::kUnsupported, 4, "version", "is ", version_, "; versions 2 and 3 are read");
    }
    const std::uint64_t tensors = detail::LoadAs<std::uint64_t>(file_.data() + 8);
    const std::uint64_t values = detail::LoadAs<std::uint64_t>(file_.data() + 16);
    if (!CountsFit(file_.size(), 0, values)) {
      return FailAt(ErrorCode::kTruncated, 16, "metadata count", "is ", values, "; a file of ", file_.size(),
                    " bytes cannot hold as many");
    }
    if (!CountsFit(file_.size(), tensors, values)) {
      return FailAt(ErrorCode::kTruncated, 8, "tensor count", "is ", tensors, "; a file of ", file_.size(),
                    " bytes cannot hold as many");
    }
    INLAY_ASSIGN_OR_RETURN(value_records_,
                           index.Allocate<std::uint64_t>(static_cast<std::size_t>(values) + 1, "GGUF index"));
    INLAY_ASSIGN_OR_RETURN(value_by_key_,
                           index.Allocate<std::uint32_t>(static_cast<std::size_t>(values), "GGUF index"));
    INLAY_ASSIGN_OR_RETURN(tensor_records_,
                           index.Allocate<std::uint64_t>(static_cast<std::size_t>(tensors), "GGUF index"));
    INLAY_ASSIGN_OR_RETURN(tensor_by_name_,
                           index.Allocate<std::uint32_t>(static_cast<std::size_t>(tensors), "GGUF index"));
    return {};
  }

  // A key or a tensor's name. `what` and `i` say which one while it has no printable name of its own.
  static Result<std::string_view> ReadName(detail::ByteReader& reader, std::string_view what, std::size_t i) {
    const std::uint64_t start = reader.at();
    const TextBuffer<96> field(what, " ", i);
    std::string_view name;
    if (!reader.ReadString(name)) {
      return FailAt(ErrorCode::kTruncated, start, field.view(), "its name reaches beyond the end of the file");
    }
    if (name.empty()) return FailAt(ErrorCode::kBadFile, start, field.view(), "its name is empty");
    if (name.size() > kGgufMaxNameBytes) {
      return FailAt(ErrorCode::kTooLarge, start, field.view(), "its name has ", name.size(), " bytes, at most ",
                    kGgufMaxNameBytes, " are allowed");
    }
    if (!detail::IsPlainUtf8(name)) {
      return FailAt(ErrorCode::kBadFile, start, field.view(), "its name is not valid UTF-8 without NUL");
    }
    return name;
  }

  Result<void> ReadMetadata(detail::ByteReader& reader) {
    for (std::size_t i = 0; i < metadata_count(); ++i) {
      value_records_[i] = reader.at();
      value_by_key_[i] = static_cast<std::uint32_t>(i);
      INLAY_ASSIGN_OR_RETURN(const std::string_view key, ReadName(reader, "metadata key", i));
      const std::uint64_t type_at = reader.at();
      std::uint32_t type = 0;
      if (!reader.Read(type)) return FailAt(ErrorCode::kTruncated, type_at, key, "its type is cut off");
      if (type > static_cast<std::uint32_t>(GgufType::kF64)) {
        return FailAt(ErrorCode::kBadFile, type_at, key, "has the unknown type ", type);
      }
      INLAY_CHECK_OK(CheckValue(reader, key, static_cast<GgufType>(type)));
    }
    value_records_[metadata_count()] = reader.at();
    detail::SortIndices(value_by_key_, [this](std::uint32_t a, std::uint32_t b) {
      const int order = KeyOf(a).compare(KeyOf(b));
      return order < 0 || (order == 0 && a < b);
    });
    for (std::size_t i = 1; i < metadata_count(); ++i) {
      const std::uint32_t later = value_by_key_[i];
      if (KeyOf(value_by_key_[i - 1]) == KeyOf(later)) {
        return FailAt(ErrorCode::kBadFile, value_records_[later], KeyOf(later), "this key appears more than once");
      }
    }
    return {};
  }

  // Moves over one value and checks all of it.
  static Result<void> CheckValue(detail::ByteReader& reader, std::string_view key, GgufType type) {
    const std::uint64_t start = reader.at();
    if (type != GgufType::kArray) return CheckElements(reader, key, type, 1);
    std::uint32_t element = 0;
    std::uint64_t count = 0;
    if (!reader.Read(element) || !reader.Read(count)) {
      return FailAt(ErrorCode::kTruncated, start, key, "the array's type or length is cut off");
    }
    if (element > static_cast<std::uint32_t>(GgufType::kF64)) {
      return FailAt(ErrorCode::kBadFile, start, key, "is an array of the unknown type ", element);
    }
    if (static_cast<GgufType>(element) == GgufType::kArray) {
      return FailAt(ErrorCode::kUnsupported, start, key, "is an array of arrays, which is not read");
    }
    return CheckElements(reader, key, static_cast<GgufType>(element), count);
  }

  static Result<void> CheckElements(detail::ByteReader& reader, std::string_view key, GgufType type,
                                    std::uint64_t count) {
    const std::uint64_t start = reader.at();
    if (type == GgufType::kString) {
      std::string_view text;
      for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t at = reader.at();
        if (!reader.ReadString(text)) {
          return FailAt(ErrorCode::kTruncated, at, key, "string ", i, " of ", count,
                        " reaches beyond the end of the file");
        }
      }
      return {};
    }
    std::uint64_t bytes = 0;
    if (!CheckedMultiply(count, FixedSize(type), bytes) || !reader.Skip(bytes)) {
      return FailAt(ErrorCode::kTruncated, start, key, count, " values of type ", Name(type),
                    " reach beyond the end of the file");
    }
    if (type == GgufType::kBool) {
      const std::byte* values = reader.here() - bytes;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (values[i] > std::byte{1}) {
          return FailAt(ErrorCode::kBadFile, start + i, key, "a bool is stored as ", static_cast<unsigned>(values[i]),
                        ", must be 0 or 1");
        }
      }
    }
    return {};
  }

  Result<void> ReadAlignment() {
    const std::optional<GgufValue> value = Find(kGgufAlignmentKey);
    if (!value) return {};
    if (value->type != GgufType::kU32) {
      return FailAt(ErrorCode::kBadFile, value->offset, kGgufAlignmentKey, "is of type ", Name(value->type),
                    ", must be u32");
    }
    const std::uint32_t alignment = detail::LoadAs<std::uint32_t>(value->encoded.data());
    if (!std::has_single_bit(alignment) || alignment < kGgufMinAlignment || alignment > kGgufMaxAlignment) {
      return FailAt(ErrorCode::kBadFile, value->offset, kGgufAlignmentKey, "is ", alignment,
                    ", must be a power of two from ", kGgufMinAlignment, " to ", kGgufMaxAlignment);
    }
    alignment_ = alignment;
    return {};
  }

  // One shard of a split model has only some of its tensors.
  Result<void> RefuseSplit() const {
    const std::optional<GgufValue> value = Find("split.count");
    if (!value) return {};
    INLAY_ASSIGN_OR_RETURN(const std::uint64_t count, value->AsUnsigned());
    if (count > 1) {
      return FailAt(ErrorCode::kUnsupported, value->offset, "split.count", "the model is split over ", count,
                    " files; merge them into one (llama-gguf-split --merge)");
    }
    return {};
  }

  Result<void> ReadTensors(detail::ByteReader& reader) {
    for (std::size_t i = 0; i < tensor_count(); ++i) {
      tensor_records_[i] = reader.at();
      tensor_by_name_[i] = static_cast<std::uint32_t>(i);
      INLAY_ASSIGN_OR_RETURN(const std::string_view name, ReadName(reader, "tensor", i));
      const TextBuffer<96> field = TensorField(name);
      const std::uint64_t dims_at = reader.at();
      std::uint32_t n_dims = 0;
      if (!reader.Read(n_dims)) {
        return FailAt(ErrorCode::kTruncated, dims_at, field.view(), "its number of dimensions is cut off");
      }
      if (n_dims == 0 || n_dims > kGgufMaxDims) {
        return FailAt(ErrorCode::kBadFile, dims_at, field.view(), "has ", n_dims, " dimensions, must have 1 to ",
                      kGgufMaxDims);
      }
      if (!reader.Skip(std::uint64_t{8} * n_dims + 4 + 8)) {
        return FailAt(ErrorCode::kTruncated, dims_at, field.view(), "its description is cut off");
      }
    }
    // Offsets count from here; a file without tensors may end without padding.
    data_offset_ = RoundUp64(reader.at(), alignment_);
    for (std::size_t i = 0; i < tensor_count(); ++i) INLAY_CHECK_OK(CheckTensor(i));
    return {};
  }

  static std::uint64_t RoundUp64(std::uint64_t value, std::uint64_t alignment) {
    return (value + alignment - 1) / alignment * alignment;
  }

  // The shape, type and place of one tensor, all from the file, before tensor(i) relies on them.
  Result<void> CheckTensor(std::size_t i) const {
    const std::uint64_t record = tensor_records_[i];
    const std::string_view name = TensorName(static_cast<std::uint32_t>(i));
    const TextBuffer<96> field = TensorField(name);
    std::uint64_t at = record + 8 + name.size();
    const std::uint32_t n_dims = detail::LoadAs<std::uint32_t>(file_.data() + at);
    at += 4;
    std::uint64_t cols = 0, values = 1;
    for (std::uint32_t d = 0; d < n_dims; ++d, at += 8) {
      const std::uint64_t dim = detail::LoadAs<std::uint64_t>(file_.data() + at);
      if (dim == 0) return FailAt(ErrorCode::kBadFile, at, field.view(), "dimension ", d, " is 0");
      if (!CheckedMultiply(values, dim, values)) {
        return FailAt(ErrorCode::kTooLarge, at, field.view(), "the product of its dimensions does not fit 64 bits");
      }
      if (d == 0) cols = dim;
    }
    const std::uint32_t type_id = detail::LoadAs<std::uint32_t>(file_.data() + at);
    const std::uint64_t relative = detail::LoadAs<std::uint64_t>(file_.data() + at + 4);
    // Of an unknown type it is only known that there is something: one byte.
    std::uint64_t bytes = 1;
    if (const WeightTypeInfo* type = FindWeightType(type_id)) {
      if (cols % type->block_values != 0) {
        return FailAt(ErrorCode::kBadFile, record, field.view(), "its rows of ", cols,
                      " values are not whole blocks of ", type->block_values, " (", type->name, ")");
      }
      if (!CheckedMultiply(values / type->block_values, type->block_bytes, bytes)) {
        return FailAt(ErrorCode::kTooLarge, record, field.view(), "its size does not fit 64 bits");
      }
    }
    if (relative % alignment_ != 0) {
      return FailAt(ErrorCode::kBadFile, at + 4, field.view(), "its offset ", relative, " is not a multiple of ",
                    alignment_);
    }
    std::uint64_t start = 0, end = 0;
    if (!CheckedAdd(data_offset_, relative, start) || !CheckedAdd(start, bytes, end) || end > file_.size()) {
      return FailAt(ErrorCode::kTruncated, at + 4, field.view(), "its ", bytes, " bytes at offset ", relative,
                    " reach beyond the end of the file (", file_.size(), " bytes)");
    }
    return {};
  }

  // Uses the memory of the name index, which is put in order afterwards.
  Result<void> CheckOverlaps() {
    detail::SortIndices(tensor_by_name_, [this](std::uint32_t a, std::uint32_t b) {
      const std::uint64_t a_offset = tensor(a).offset, b_offset = tensor(b).offset;
      return a_offset < b_offset || (a_offset == b_offset && a < b);
    });
    for (std::size_t i = 1; i < tensor_count(); ++i) {
      const GgufTensor before = tensor(tensor_by_name_[i - 1]);
      const GgufTensor after = tensor(tensor_by_name_[i]);
      const std::uint64_t bytes = before.type == nullptr ? 1 : before.data.size();
      if (after.offset - before.offset < bytes) {
        return FailAt(ErrorCode::kBadFile, after.record, TensorField(after.name).view(), "its data overlaps that of ",
                      before.name);
      }
    }
    return {};
  }

  Result<void> SortTensorNames() {
    detail::SortIndices(tensor_by_name_, [this](std::uint32_t a, std::uint32_t b) {
      const int order = TensorName(a).compare(TensorName(b));
      return order < 0 || (order == 0 && a < b);
    });
    for (std::size_t i = 1; i < tensor_count(); ++i) {
      const std::uint32_t later = tensor_by_name_[i];
      if (TensorName(tensor_by_name_[i - 1]) == TensorName(later)) {
        return FailAt(ErrorCode::kBadFile, tensor_records_[later], TensorField(TensorName(later)).view(),
                      "this name appears more than once");
      }
    }
    return {};
  }

  std::span<const std::byte> file_;
  std::uint32_t version_ = 0;
  std::size_t alignment_ = kGgufDefaultAlignment;
  std::uint64_t data_offset_ = 0;
  std::span<std::uint64_t> value_records_;   // [metadata_count + 1] where each key starts; last: end of the metadata
  std::span<std::uint32_t> value_by_key_;    // [metadata_count] in the order of their keys
  std::span<std::uint64_t> tensor_records_;  // [tensor_count] where each description starts
  std::span<std::uint32_t> tensor_by_name_;  // [tensor_count] in the order of their names
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_GGUF_HPP_

// --- inlay/files/gguf_writer.hpp

// Writes GGUF version 3 as a stream: metadata, then tensor descriptions, then tensor data, with no memory of its own.
#ifndef INLAY_FILES_GGUF_WRITER_HPP_
#define INLAY_FILES_GGUF_WRITER_HPP_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

INLAY_BEGIN_NAMESPACE

// Takes the file's bytes, in order. An error ends the writing and is passed on.
using ByteSink = FunctionRef<Result<void>(std::span<const std::byte>)>;

// A tensor to be written. dims[0] is the length of a row; dims from n_dims on are 1; `bytes` is the size of its data.
struct GgufTensorEntry {
  std::string_view name;
  std::uint32_t type_id = 0;
  std::uint32_t n_dims = 1;
  std::array<std::uint64_t, kGgufMaxDims> dims = {1, 1, 1, 1};
  std::uint64_t bytes = 0;

  // A matrix of `rows` rows (or, of one row, a vector); cols is a multiple of the type's block_values.
  static constexpr GgufTensorEntry Matrix(std::string_view name, WeightType type, std::size_t rows, std::size_t cols) {
    return {name,
            static_cast<std::uint32_t>(type),
            rows == 1 ? 1u : 2u,
            {cols, rows, 1, 1},
            std::uint64_t{RowBytes(type, cols)} * rows};
  }
};

// Use, each step returning a Result:
//   auto writer = GgufWriter::Begin(sink, metadata_count, tensors, alignment);
//   writer->Put(key, value) / PutArray / PutStrings / Copy, metadata_count times
//   writer->EndMetadata();
//   writer->Append(bytes), any pieces, the data of all tensors in their order
//   writer->Finish();
// The sink and the tensor entries must outlive the writer. GgufFile opens what was written, provided that keys and
// names are unique (the writer has no memory to check that). Calls out of order are kInvalidArgument; after an error of
// the sink the file is incomplete and the writer is of no further use.
class GgufWriter {
 public:
  // Writes the header. `general.alignment` is written by the writer itself where it is not the default of 32, and is
  // not part of metadata_count. `sink` is a ByteSink or anything that converts to one; a temporary does not bind.
  template <class Sink>
  static Result<GgufWriter> Begin(Sink& sink, std::uint64_t metadata_count, std::span<const GgufTensorEntry> tensors,
                                  std::size_t alignment = kGgufDefaultAlignment) {
    if (!std::has_single_bit(alignment) || alignment < kGgufMinAlignment || alignment > kGgufMaxAlignment) {
      return Fail(ErrorCode::kInvalidArgument, kGgufAlignmentKey, "is ", alignment, ", must be a power of two from ",
                  kGgufMinAlignment, " to ", kGgufMaxAlignment);
    }
    for (const GgufTensorEntry& entry : tensors) INLAY_CHECK_OK(CheckEntry(entry));
    GgufWriter writer(ByteSink(sink), metadata_count, tensors, alignment);
    const bool own_key = alignment != kGgufDefaultAlignment;
    INLAY_CHECK_OK(writer.WriteNumber(kGgufMagic));
    INLAY_CHECK_OK(writer.WriteNumber(std::uint32_t{3}));
    INLAY_CHECK_OK(writer.WriteNumber(std::uint64_t{tensors.size()}));
    INLAY_CHECK_OK(writer.WriteNumber(metadata_count + (own_key ? 1 : 0)));
    if (own_key) {
      INLAY_CHECK_OK(writer.WriteString(kGgufAlignmentKey));
      INLAY_CHECK_OK(writer.WriteNumber(static_cast<std::uint32_t>(GgufType::kU32)));
      INLAY_CHECK_OK(writer.WriteNumber(static_cast<std::uint32_t>(alignment)));
    }
    return writer;
  }

  // An integer, float or bool; its type in the file is that of T.
  template <class T>
    requires std::is_arithmetic_v<T> Result<void> Put(std::string_view key, T value) {
      INLAY_CHECK_OK(BeginValue(key, GgufTypeOf<T>()));
      return WriteNumber(value);
    }
  Result<void> Put(std::string_view key, std::string_view value) {
    INLAY_CHECK_OK(BeginValue(key, GgufType::kString));
    return WriteString(value);
  }
  // Without this a string literal would convert to bool.
  Result<void> Put(std::string_view key, const char* value) { return Put(key, std::string_view(value)); }

  template <class T>
    requires std::is_arithmetic_v<T> Result<void> PutArray(std::string_view key, std::span<const T> values) {
      INLAY_CHECK_OK(BeginArray(key, GgufTypeOf<T>(), values.size()));
      return Write(std::as_bytes(values));
    }
  // An array of `count` strings: string(0) ... string(count - 1) are asked for in order.
  Result<void> PutStrings(std::string_view key, std::size_t count, FunctionRef<std::string_view(std::size_t)> string) {
    INLAY_CHECK_OK(BeginArray(key, GgufType::kString, count));
    for (std::size_t i = 0; i < count; ++i) INLAY_CHECK_OK(WriteString(string(i)));
    return {};
  }
  // A value of another file, byte for byte; any key but `general.alignment`, which the writer owns.
  Result<void> Copy(const GgufValue& value) {
    INLAY_CHECK_OK(BeginValue(value.key, value.type));
    return Write(value.encoded);
  }

  // Writes the tensors' descriptions and the padding before their data.
  Result<void> EndMetadata() {
    if (phase_ != Phase::kMetadata || values_left_ != 0) {
      return Fail(ErrorCode::kInvalidArgument, "GGUF writer", values_left_, " metadata values are still to be written");
    }
    std::uint64_t offset = 0;
    for (const GgufTensorEntry& entry : tensors_) {
      INLAY_CHECK_OK(WriteString(entry.name));
      INLAY_CHECK_OK(WriteNumber(entry.n_dims));
      for (std::uint32_t d = 0; d < entry.n_dims; ++d) INLAY_CHECK_OK(WriteNumber(entry.dims[d]));
      INLAY_CHECK_OK(WriteNumber(entry.type_id));
      INLAY_CHECK_OK(WriteNumber(offset));
      std::uint64_t end = 0;
      if (!CheckedAdd(offset, entry.bytes, end) || !CheckedAdd(end, alignment_ - 1, end)) {
        return Fail(ErrorCode::kTooLarge, entry.name, "the file would not fit 64 bits");
      }
      offset = end / alignment_ * alignment_;
    }
    phase_ = Phase::kData;
    return Pad();
  }

  // The next bytes of tensor data. Pieces may cross from one tensor into the next; each tensor is padded when complete.
  Result<void> Append(std::span<const std::byte> bytes) {
    if (phase_ != Phase::kData)
      return Fail(ErrorCode::kInvalidArgument, "GGUF writer", "call EndMetadata before Append");
    while (!bytes.empty()) {
      if (tensor_ == tensors_.size()) {
        return Fail(ErrorCode::kInvalidArgument, "GGUF writer", bytes.size(), " bytes more than the tensors declared");
      }
      const std::uint64_t left = tensors_[tensor_].bytes - written_;
      const std::size_t count = left < bytes.size() ? static_cast<std::size_t>(left) : bytes.size();
      INLAY_CHECK_OK(Write(bytes.first(count)));
      bytes = bytes.subspan(count);
      written_ += count;
      if (written_ == tensors_[tensor_].bytes) {
        written_ = 0;
        ++tensor_;
        INLAY_CHECK_OK(Pad());
      }
    }
    return {};
  }

  // Checks that all the data came. The sink has everything; closing it is the caller's.
  Result<void> Finish() {
    if (phase_ != Phase::kData || tensor_ != tensors_.size()) {
      return Fail(ErrorCode::kInvalidArgument, tensor_ < tensors_.size() ? tensors_[tensor_].name : "GGUF writer",
                  "its data is incomplete");
    }
    phase_ = Phase::kFinished;
    return {};
  }

  // Bytes written so far: where the next call writes.
  std::uint64_t position() const { return position_; }

 private:
  enum class Phase : std::uint8_t { kMetadata, kData, kFinished };

  GgufWriter(ByteSink sink, std::uint64_t metadata_count, std::span<const GgufTensorEntry> tensors,
             std::size_t alignment)
      : sink_(sink), tensors_(tensors), alignment_(alignment), values_left_(metadata_count) {}

  static Result<void> CheckName(std::string_view name) {
    if (name.empty() || name.size() > kGgufMaxNameBytes || !detail::IsPlainUtf8(name)) {
      return Fail(ErrorCode::kInvalidArgument, "GGUF key or tensor name", "must be 1 to ", kGgufMaxNameBytes,
                  " bytes of UTF-8 without NUL");
    }
    return {};
  }

  static Result<void> CheckEntry(const GgufTensorEntry& entry) {
    INLAY_CHECK_OK(CheckName(entry.name));
    const auto refuse = [&](std::string_view why) { return Fail(ErrorCode::kInvalidArgument, entry.name, why); };
    if (entry.n_dims == 0 || entry.n_dims > kGgufMaxDims) return refuse("a tensor has 1 to 4 dimensions");
    std::uint64_t values = 1;
    for (std::uint32_t d = 0; d < kGgufMaxDims; ++d) {
      if (entry.dims[d] == 0 || (d >= entry.n_dims && entry.dims[d] != 1)) return refuse("a dimension is out of range");
      if (!CheckedMultiply(values, entry.dims[d], values)) return refuse("its dimensions do not fit 64 bits");
    }
    if (entry.bytes == 0) return refuse("a tensor is not empty");
    const WeightTypeInfo* type = FindWeightType(entry.type_id);
    if (type == nullptr) return {};
    std::uint64_t bytes = 0;
    if (entry.dims[0] % type->block_values != 0) return refuse("its rows are not whole blocks");
    if (!CheckedMultiply(values / type->block_values, type->block_bytes, bytes) || bytes != entry.bytes) {
      return refuse("its bytes are not what its type and dimensions take");
    }
    return {};
  }

  Result<void> Write(std::span<const std::byte> bytes) {
    if (bytes.empty()) return {};
    INLAY_CHECK_OK(sink_(bytes));
    position_ += bytes.size();
    return {};
  }
  template <class T>
  Result<void> WriteNumber(T value) {
    return Write(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  Result<void> WriteString(std::string_view text) {
    INLAY_CHECK_OK(WriteNumber(std::uint64_t{text.size()}));
    return Write(std::as_bytes(std::span(text)));
  }
  Result<void> BeginValue(std::string_view key, GgufType type) {
    INLAY_CHECK_OK(CheckName(key));
    if (key == kGgufAlignmentKey) {
      return Fail(ErrorCode::kInvalidArgument, key, "is written by the writer; pass the alignment to Begin");
    }
    if (values_left_ == 0) {
      return Fail(ErrorCode::kInvalidArgument, key, "is more metadata than Begin was told");
    }
    --values_left_;
    INLAY_CHECK_OK(WriteString(key));
    return WriteNumber(static_cast<std::uint32_t>(type));
  }
  Result<void> BeginArray(std::string_view key, GgufType element, std::uint64_t count) {
    INLAY_CHECK_OK(BeginValue(key, GgufType::kArray));
    INLAY_CHECK_OK(WriteNumber(static_cast<std::uint32_t>(element)));
    return WriteNumber(count);
  }
  Result<void> Pad() {
    static constexpr std::array<std::byte, 64> kZeros = {};
    while (position_ % alignment_ != 0) {
      const std::uint64_t missing = alignment_ - position_ % alignment_;
      const std::size_t count = missing < kZeros.size() ? static_cast<std::size_t>(missing) : kZeros.size();
      INLAY_CHECK_OK(Write(std::span(kZeros).first(count)));
    }
    return {};
  }

  ByteSink sink_;
  std::span<const GgufTensorEntry> tensors_;
  std::uint64_t alignment_;
  std::uint64_t values_left_;
  std::uint64_t position_ = 0;
  std::size_t tensor_ = 0;     // the tensor that Append writes
  std::uint64_t written_ = 0;  // bytes of it that are written
  Phase phase_ = Phase::kMetadata;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_GGUF_WRITER_HPP_

// --- inlay/files/llama2c.hpp

// Reads the checkpoints and tokenizers of llama2.c: raw float32 tensors behind a header of a few integers.
// Source: https://github.com/karpathy/llama2.c, export.py and run.c; versions 0 (legacy) and 1.
#ifndef INLAY_FILES_LLAMA2C_HPP_
#define INLAY_FILES_LLAMA2C_HPP_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

static_assert(std::endian::native == std::endian::little, "checkpoints are read in place: little-endian targets only");

// A checkpoint's dimensions; all at least 1.
struct Llama2cDims {
  std::uint32_t dim = 0;
  std::uint32_t ffn_dim = 0;
  std::uint32_t layers = 0;
  std::uint32_t heads = 0;     // divides dim
  std::uint32_t kv_heads = 0;  // divides heads
  std::uint32_t vocab = 0;
  std::uint32_t context = 0;
  bool tied_embeddings = false;  // the classifier is the embedding table

  std::uint32_t head_dim() const { return dim / heads; }
  std::uint32_t kv_dim() const { return head_dim() * kv_heads; }
};

// An opened checkpoint: views of the file's floats, which must outlive it. Matrices are row-major, [out, in]. The
// rotary pairs of wq and wk are adjacent elements (2i, 2i + 1).
class Llama2cCheckpoint {
 public:
  // The file must start at a multiple of 4 bytes in memory. Errors: kTruncated, kBadFile (a dimension that is zero,
  // negative or does not divide; more bytes than the dimensions say), kUnsupported (version 2: quantised), kTooLarge.
  // Reads only the header.
  static Result<Llama2cCheckpoint> Open(std::span<const std::byte> file) {
    if (reinterpret_cast<std::uintptr_t>(file.data()) % alignof(float) != 0) {
      return Fail(ErrorCode::kInvalidArgument, "checkpoint", "must start at a multiple of 4 bytes in memory");
    }
    Llama2cCheckpoint opened;
    std::uint64_t at = 0;
    std::int32_t first = 0;
    INLAY_CHECK_OK(ReadInt(file, 0, "header", first));
    if (static_cast<std::uint32_t>(first) == kMagic) {
      INLAY_CHECK_OK(opened.ReadVersion1Header(file));
      at = kVersion1HeaderBytes;
    } else {
      INLAY_CHECK_OK(opened.ReadDims(file, 0));
      at = 7 * sizeof(std::int32_t);
    }
    INLAY_CHECK_OK(opened.PlaceTensors(file, at, at == kVersion1HeaderBytes));
    return opened;
  }

  const Llama2cDims& dims() const { return dims_; }

  std::span<const float> token_embedding() const { return All(kEmbedding); }                            // [vocab, dim]
  std::span<const float> attention_norm(std::size_t layer) const { return Of(kAttentionNorm, layer); }  // [dim]
  std::span<const float> wq(std::size_t layer) const { return Of(kWq, layer); }                         // [dim, dim]
  std::span<const float> wk(std::size_t layer) const { return Of(kWk, layer); }                         // [kv_dim, dim]
  std::span<const float> wv(std::size_t layer) const { return Of(kWv, layer); }                         // [kv_dim, dim]
  std::span<const float> wo(std::size_t layer) const { return Of(kWo, layer); }                         // [dim, dim]
  std::span<const float> ffn_norm(std::size_t layer) const { return Of(kFfnNorm, layer); }              // [dim]
  std::span<const float> w1(std::size_t layer) const { return Of(kW1, layer); }  // gate [ffn_dim, dim]
  std::span<const float> w2(std::size_t layer) const { return Of(kW2, layer); }  // down [dim, ffn_dim]
  std::span<const float> w3(std::size_t layer) const { return Of(kW3, layer); }  // up [ffn_dim, dim]
  std::span<const float> final_norm() const { return All(kFinalNorm); }          // [dim]
  // [vocab, dim]; the embedding table itself when it is tied.
  std::span<const float> classifier() const { return dims_.tied_embeddings ? All(kEmbedding) : All(kClassifier); }

 private:
  static constexpr std::uint32_t kMagic = 0x616B3432;  // "ak42"
  static constexpr std::uint64_t kVersion1HeaderBytes = 256;

  enum Tensor : std::uint8_t {
    kEmbedding,
    kAttentionNorm,
    kWq,
    kWk,
    kWv,
    kWo,
    kFfnNorm,
    kW1,
    kW2,
    kW3,
    kFinalNorm,
    kRotary,  // tables of cosines and sines, which are computed instead
    kClassifier,
    kTensors,
  };

  Llama2cCheckpoint() = default;

  static Result<void> ReadInt(std::span<const std::byte> file, std::uint64_t at, std::string_view field,
                              std::int32_t& value) {
    if (file.size() < at + sizeof(value)) return FailAt(ErrorCode::kTruncated, file.size(), field, "is cut off");
    std::memcpy(&value, file.data() + at, sizeof(value));
    return {};
  }

  Result<void> ReadDims(std::span<const std::byte> file, std::uint64_t at) {
    struct Field {
      std::string_view name;
      std::uint32_t Llama2cDims::*dim;
    };
    constexpr Field kFields[] = {
        {"dim", &Llama2cDims::dim},        {"hidden_dim", &Llama2cDims::ffn_dim},  {"n_layers", &Llama2cDims::layers},
        {"n_heads", &Llama2cDims::heads},  {"n_kv_heads", &Llama2cDims::kv_heads}, {"vocab_size", &Llama2cDims::vocab},
        {"seq_len", &Llama2cDims::context}};
    const bool legacy = at == 0;
    dims_.tied_embeddings = true;
    for (const Field& field : kFields) {
      std::int32_t value = 0;
      INLAY_CHECK_OK(ReadInt(file, at, field.name, value));
      // In the legacy header a negative vocabulary size says that the classifier has weights of its own.
      if (legacy && field.dim == &Llama2cDims::vocab && value < 0) {
        dims_.tied_embeddings = false;
        value = static_cast<std::int32_t>(0u - static_cast<std::uint32_t>(value));  // the most negative stays negative
      }
      if (value <= 0) return FailAt(ErrorCode::kBadFile, at, field.name, "is ", value, ", must be at least 1");
      dims_.*field.dim = static_cast<std::uint32_t>(value);
      at += sizeof(value);
    }
    if (dims_.dim % dims_.heads != 0) {
      return FailAt(ErrorCode::kBadFile, at - 4 * sizeof(std::int32_t), "n_heads", "is ", dims_.heads,
                    ", must divide dim, which is ", dims_.dim);
    }
    if (dims_.heads % dims_.kv_heads != 0) {
      return FailAt(ErrorCode::kBadFile, at - 3 * sizeof(std::int32_t), "n_kv_heads", "is ", dims_.kv_heads,
                    ", must divide n_heads, which is ", dims_.heads);
    }
    if (dims_.head_dim() % 2 != 0) {
      return FailAt(ErrorCode::kBadFile, at - 4 * sizeof(std::int32_t), "n_heads", "dim / n_heads is ",
                    dims_.head_dim(), ", must be even");
    }
    return {};
  }

  // Magic, version, the seven dimensions, one byte for tied embeddings, zeros up to 256 bytes.
  Result<void> ReadVersion1Header(std::span<const std::byte> file) {
    std::int32_t version = 0;
    INLAY_CHECK_OK(ReadInt(file, 4, "version", version));
    if (version == 2) {
      return FailAt(ErrorCode::kUnsupported, 4, "version", "is 2 (quantised); export the checkpoint as version 0 or 1");
    }
    if (version != 1) return FailAt(ErrorCode::kUnsupported, 4, "version", "is ", version, "; 0 and 1 are read");
    if (file.size() < kVersion1HeaderBytes) {
      return FailAt(ErrorCode::kTruncated, file.size(), "header", "has ", kVersion1HeaderBytes, " bytes in version 1");
    }
    INLAY_CHECK_OK(ReadDims(file, 8));
    constexpr std::uint64_t kTiedAt = 8 + 7 * sizeof(std::int32_t);
    const std::byte tied = file[kTiedAt];
    if (tied > std::byte{1}) {
      return FailAt(ErrorCode::kBadFile, kTiedAt, "shared_classifier", "is ", static_cast<unsigned>(tied),
                    ", must be 0 or 1");
    }
    dims_.tied_embeddings = tied == std::byte{1};
    return {};
  }

  Result<void> PlaceTensors(std::span<const std::byte> file, std::uint64_t at, bool version1) {
    const std::uint64_t dim = dims_.dim, kv_dim = dims_.kv_dim(), ffn_dim = dims_.ffn_dim, vocab = dims_.vocab;
    // Products of two 31-bit numbers fit; everything beyond them is checked.
    sizes_ = {};
    sizes_[kEmbedding] = vocab * dim;
    sizes_[kAttentionNorm] = sizes_[kFfnNorm] = sizes_[kFinalNorm] = dim;
    sizes_[kWq] = sizes_[kWo] = dim * dim;
    sizes_[kWk] = sizes_[kWv] = kv_dim * dim;
    sizes_[kW1] = sizes_[kW2] = sizes_[kW3] = ffn_dim * dim;
    sizes_[kRotary] = version1 ? 0 : std::uint64_t{dims_.context} * dims_.head_dim();
    sizes_[kClassifier] = dims_.tied_embeddings ? 0 : vocab * dim;

    constexpr std::array<Tensor, kTensors> kLegacyOrder = {
        kEmbedding, kAttentionNorm, kWq, kWk, kWv, kWo, kFfnNorm, kW1, kW2, kW3, kFinalNorm, kRotary, kClassifier};
    constexpr std::array<Tensor, kTensors> kVersion1Order = {
        kAttentionNorm, kFfnNorm, kFinalNorm, kEmbedding, kWq, kWk, kWv, kWo, kW1, kW2, kW3, kRotary, kClassifier};
    std::uint64_t end = at;
    for (std::size_t i = 0; i < kTensors; ++i) {
      std::uint64_t bytes = 0;
      if (!CheckedMultiply(sizes_[i], PerLayer(static_cast<Tensor>(i)) ? dims_.layers : 1u, bytes) ||
          !CheckedMultiply(bytes, sizeof(float), bytes) || !CheckedAdd(end, bytes, end)) {
        return FailAt(ErrorCode::kTooLarge, 0, "header", "the sizes that it gives do not fit 64 bits");
      }
    }
    if (end > file.size()) {
      return FailAt(ErrorCode::kTruncated, file.size(), "checkpoint", "its header asks for ", end,
                    " bytes, the file has ", file.size());
    }
    if (end < file.size()) {
      return FailAt(ErrorCode::kBadFile, end, "checkpoint", "the file goes on for ", file.size() - end,
                    " bytes beyond what its header asks for");
    }
    for (const Tensor tensor : version1 ? kVersion1Order : kLegacyOrder) {
      starts_[tensor] = reinterpret_cast<const float*>(file.data() + at);
      at += sizes_[tensor] * (PerLayer(tensor) ? dims_.layers : 1u) * sizeof(float);
    }
    return {};
  }

  static constexpr bool PerLayer(Tensor tensor) { return tensor >= kAttentionNorm && tensor <= kW3; }

  std::span<const float> All(Tensor tensor) const {
    return {starts_[tensor], static_cast<std::size_t>(sizes_[tensor])};
  }
  std::span<const float> Of(Tensor tensor, std::size_t layer) const {
    INLAY_ASSERT(layer < dims_.layers);
    const std::size_t size = static_cast<std::size_t>(sizes_[tensor]);
    return {starts_[tensor] + layer * size, size};
  }

  Llama2cDims dims_;
  std::array<const float*, kTensors> starts_ = {};
  std::array<std::uint64_t, kTensors> sizes_ = {};  // floats, of one layer where a tensor has several
};

// A piece of the vocabulary: its bytes (a view of the file) and its merge score.
struct Llama2cPiece {
  std::string_view text;
  float score;
};

// An opened tokenizer.bin: a view of the file, which must outlive it. Pieces are read in the order of their ids:
//   for (inlay::Llama2cPiece piece : tokenizer) ...
class Llama2cTokenizer {
 public:
  class Iterator {
   public:
    using value_type = Llama2cPiece;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::forward_iterator_tag;

    Iterator() = default;
    Iterator(const std::byte* at, std::size_t left) : at_(at), left_(left) {}
    Llama2cPiece operator*() const {
      Llama2cPiece piece{};
      std::memcpy(&piece.score, at_, sizeof(float));
      piece.text = {reinterpret_cast<const char*>(at_ + kPieceHeaderBytes), Length()};
      return piece;
    }
    Iterator& operator++() {
      at_ += kPieceHeaderBytes + Length();
      --left_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++*this;
      return before;
    }
    bool operator==(const Iterator& other) const { return left_ == other.left_; }

   private:
    std::size_t Length() const {
      std::uint32_t length = 0;
      std::memcpy(&length, at_ + sizeof(float), sizeof(length));
      return length;
    }
    const std::byte* at_ = nullptr;
    std::size_t left_ = 0;
  };

  // The file does not say how many pieces it has: `vocab` comes from the checkpoint. The whole file is checked:
  // kTruncated when it has fewer pieces, kBadFile when it has more bytes, or a length is negative or beyond the stated
  // maximum; kNonFinite for a score that is NaN or infinite.
  static Result<Llama2cTokenizer> Open(std::span<const std::byte> file, std::size_t vocab) {
    std::int32_t longest = 0;
    if (file.size() < sizeof(longest))
      return FailAt(ErrorCode::kTruncated, file.size(), "max_token_length", "is cut off");
    std::memcpy(&longest, file.data(), sizeof(longest));
    if (longest <= 0) return FailAt(ErrorCode::kBadFile, 0, "max_token_length", "is ", longest, ", must be at least 1");
    if (vocab == 0) return Fail(ErrorCode::kInvalidArgument, "vocab", "must be at least 1");
    std::size_t at = sizeof(longest);
    for (std::size_t i = 0; i < vocab; ++i) {
      const TextBuffer<96> field("token ", i);
      if (file.size() - at < kPieceHeaderBytes) return FailAt(ErrorCode::kTruncated, at, field.view(), "is cut off");
      float score = 0;
      std::int32_t length = 0;
      std::memcpy(&score, file.data() + at, sizeof(score));
      std::memcpy(&length, file.data() + at + sizeof(score), sizeof(length));
      if ((std::bit_cast<std::uint32_t>(score) & 0x7F800000u) == 0x7F800000u) {
        return FailAt(ErrorCode::kNonFinite, at, field.view(), "its score is NaN or infinite");
      }
      if (length < 0 || length > longest) {
        return FailAt(ErrorCode::kBadFile, at + sizeof(score), field.view(), "its length is ", length,
                      ", must be 0 to ", longest);
      }
      at += kPieceHeaderBytes;
      if (static_cast<std::size_t>(length) > file.size() - at) {
        return FailAt(ErrorCode::kTruncated, at, field.view(), "its ", length,
                      " bytes reach beyond the end of the file");
      }
      at += static_cast<std::size_t>(length);
    }
    if (at != file.size()) {
      return FailAt(ErrorCode::kBadFile, at, "tokenizer", "the file goes on for ", file.size() - at, " bytes after ",
                    vocab, " tokens");
    }
    return Llama2cTokenizer(file, vocab, static_cast<std::size_t>(longest));
  }

  std::size_t size() const { return vocab_; }
  // Bytes of the longest piece, as the file states it.
  std::size_t max_token_length() const { return longest_; }
  Iterator begin() const { return {file_.data() + sizeof(std::int32_t), vocab_}; }
  Iterator end() const { return {nullptr, 0}; }

 private:
  static constexpr std::size_t kPieceHeaderBytes = sizeof(float) + sizeof(std::int32_t);

  Llama2cTokenizer(std::span<const std::byte> file, std::size_t vocab, std::size_t longest)
      : file_(file), vocab_(vocab), longest_(longest) {}

  std::span<const std::byte> file_;
  std::size_t vocab_;
  std::size_t longest_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_LLAMA2C_HPP_

// --- inlay/files/mapped_file.hpp

// A file's bytes for hosts with an operating system: mapped where POSIX offers it, read into memory elsewhere.
#ifndef INLAY_FILES_MAPPED_FILE_HPP_
#define INLAY_FILES_MAPPED_FILE_HPP_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#else
#include <cstdio>

#endif

INLAY_BEGIN_NAMESPACE

// Owns the mapping, read-only. Movable, not copyable; bytes() stay where they are when it is moved. The bytes start at
// a page (elsewhere: at a multiple of kAlignment). An empty file is a mapping of no bytes.
//
// The file must not be truncated while it is mapped: the system then ends the process at the next access (SIGBUS), and
// no library can turn that into an error. Replace model files by renaming a new one over them.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

  // Gives the memory of what has been read back to the system, for files that are read once. The bytes stay valid: what is
  // looked at again is read from the file again. Does nothing where the file is not mapped.
  void ReleasePages() const {
#if defined(__unix__) || defined(__APPLE__)
    if (!bytes_.empty()) ::madvise(const_cast<std::byte*>(bytes_.data()), bytes_.size(), MADV_DONTNEED);
#endif
  }

#if defined(__unix__) || defined(__APPLE__)
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    if (this != &other) {
      Unmap();
      bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
  }
  ~MappedFile() { Unmap(); }

  // kSystem when the file cannot be opened or mapped, or is not a regular file (a directory, pipe or device).
  static Result<MappedFile> Open(const char* path) {
    if (path == nullptr) return Fail(ErrorCode::kInvalidArgument, "path", "is null");
    // O_NONBLOCK: opening a pipe would otherwise wait for its writer. It has no effect on regular files.
    const int descriptor = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) return SystemError(path, "cannot be opened", errno);
    Result<MappedFile> mapped = Map(descriptor, path);
    ::close(descriptor);
    return mapped;
  }

 private:
  static Result<MappedFile> Map(int descriptor, const char* path) {
    struct stat status {};
    if (::fstat(descriptor, &status) != 0) return SystemError(path, "cannot be examined", errno);
    if (S_ISDIR(status.st_mode)) return Fail(ErrorCode::kSystem, path, "is a directory");
    if (!S_ISREG(status.st_mode)) return Fail(ErrorCode::kSystem, path, "is not a regular file");
    MappedFile file;
    if (status.st_size == 0) return file;
    if (static_cast<std::uint64_t>(status.st_size) > std::numeric_limits<std::size_t>::max()) {
      return Fail(ErrorCode::kTooLarge, path, "has ", status.st_size, " bytes, more than this machine can address");
    }
    const std::size_t size = static_cast<std::size_t>(status.st_size);
    void* start = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    if (start == MAP_FAILED) return SystemError(path, "cannot be mapped", errno);
    file.bytes_ = {static_cast<const std::byte*>(start), size};
    return file;
  }

  static Error SystemError(const char* path, std::string_view what, int number) {
    const std::string_view why = number == ENOENT || number == ENOTDIR  ? "no such file"
                                 : number == EACCES || number == EPERM  ? "permission denied"
                                 : number == EMFILE || number == ENFILE ? "too many open files"
                                 : number == ENOMEM                     ? "out of memory"
                                                                        : "the system refused";
    return Fail(ErrorCode::kSystem, path, what, ": ", why, " (errno ", number, ")");
  }

  void Unmap() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
    bytes_ = {};
  }
#else
  MappedFile(MappedFile&& other) noexcept
      : buffer_(std::move(other.buffer_)), bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    buffer_ = std::move(other.buffer_);
    bytes_ = std::exchange(other.bytes_, {});
    return *this;
  }

  // Reads the whole file. kSystem when it cannot be opened or read, kOutOfMemory when it does not fit.
  static Result<MappedFile> Open(const char* path) {
    if (path == nullptr) return Fail(ErrorCode::kInvalidArgument, "path", "is null");
    std::FILE* stream = std::fopen(path, "rb");
    if (stream == nullptr) return Fail(ErrorCode::kSystem, path, "cannot be opened");
    Result<MappedFile> file = Read(stream, path);
    std::fclose(stream);
    return file;
  }

 private:
  static Result<MappedFile> Read(std::FILE* stream, const char* path) {
    MappedFile file;
    std::size_t size = 0;
    // Grown by doubling, because the length that ftell reports is limited to long.
    for (std::size_t capacity = std::size_t{1} << 20;; capacity *= 2) {
      INLAY_ASSIGN_OR_RETURN(OwnedBuffer larger, OwnedBuffer::Create(capacity, path));
      for (std::size_t i = 0; i < size; ++i) larger.bytes()[i] = file.buffer_.bytes()[i];
      file.buffer_ = std::move(larger);
      size += std::fread(file.buffer_.bytes().data() + size, 1, capacity - size, stream);
      if (std::ferror(stream) != 0) return Fail(ErrorCode::kSystem, path, "cannot be read");
      if (size < capacity) break;
    }
    file.bytes_ = file.buffer_.bytes().first(size);
    return file;
  }

  OwnedBuffer buffer_;
#endif

  std::span<const std::byte> bytes_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_MAPPED_FILE_HPP_

// --- inlay/files/sha256.hpp

// SHA-256 over bytes that arrive in pieces: identifies packed weights. Portable integer arithmetic, no heap.
// Source: FIPS 180-4.
#ifndef INLAY_FILES_SHA256_HPP_
#define INLAY_FILES_SHA256_HPP_

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

INLAY_BEGIN_NAMESPACE

using Sha256Digest = std::array<std::byte, 32>;

// Update any number of times, then Finish once. A copy continues on its own.
class Sha256 {
 public:
  void Update(std::span<const std::byte> bytes) {
    total_ += bytes.size();
    if (pending_ != 0) {
      const std::size_t room = kBlock - pending_;
      const std::size_t count = bytes.size() < room ? bytes.size() : room;
      if (count != 0) std::memcpy(block_.data() + pending_, bytes.data(), count);
      pending_ += count;
      bytes = bytes.subspan(count);
      if (pending_ < kBlock) return;
      Compress(block_.data(), 1);
      pending_ = 0;
    }
    const std::size_t blocks = bytes.size() / kBlock;
    Compress(bytes.data(), blocks);
    bytes = bytes.subspan(blocks * kBlock);
    if (!bytes.empty()) std::memcpy(block_.data(), bytes.data(), bytes.size());
    pending_ = bytes.size();
  }

  // The digest of everything so far. The object is used up.
  Sha256Digest Finish() {
    const std::uint64_t bits = __builtin_bswap64(total_ * 8);
    block_[pending_++] = std::byte{0x80};
    if (pending_ > kBlock - sizeof(bits)) {
      std::memset(block_.data() + pending_, 0, kBlock - pending_);
      Compress(block_.data(), 1);
      pending_ = 0;
    }
    std::memset(block_.data() + pending_, 0, kBlock - sizeof(bits) - pending_);
    std::memcpy(block_.data() + kBlock - sizeof(bits), &bits, sizeof(bits));
    Compress(block_.data(), 1);
    Sha256Digest digest;
    for (std::size_t i = 0; i < state_.size(); ++i) {
      const std::uint32_t word = __builtin_bswap32(state_[i]);
      std::memcpy(digest.data() + 4 * i, &word, sizeof(word));
    }
    return digest;
  }

  static Sha256Digest Of(std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.Update(bytes);
    return hash.Finish();
  }

 private:
  static constexpr std::size_t kBlock = 64;
  static_assert(std::endian::native == std::endian::little);

  // The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
  static constexpr std::uint32_t kRound[64] = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

  void Compress(const std::byte* data, std::size_t blocks) {
    for (; blocks != 0; --blocks, data += kBlock) {
      // The message schedule is a ring of 16 words: word t replaces word t - 16.
      std::uint32_t w[16];
      for (std::size_t t = 0; t < 16; ++t) {
        std::uint32_t word = 0;
        std::memcpy(&word, data + 4 * t, sizeof(word));
        w[t] = __builtin_bswap32(word);
      }
      std::uint32_t a = state_[0], b = state_[1], c = state_[2], d = state_[3];
      std::uint32_t e = state_[4], f = state_[5], g = state_[6], h = state_[7];
      for (std::size_t start = 0; start < 64; start += 16) {
        for (std::size_t i = 0; i < 16; ++i) {
          if (start != 0) {
            const std::uint32_t w15 = w[(i + 1) % 16], w2 = w[(i + 14) % 16];
            w[i] += (std::rotr(w15, 7) ^ std::rotr(w15, 18) ^ (w15 >> 3)) + w[(i + 9) % 16] +
                    (std::rotr(w2, 17) ^ std::rotr(w2, 19) ^ (w2 >> 10));
          }
          const std::uint32_t t1 = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + (g ^ (e & (f ^ g))) +
                                   kRound[start + i] + w[i];
          const std::uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) | (c & (a | b)));
          h = g;
          g = f;
          f = e;
          e = d + t1;
          d = c;
          c = b;
          b = a;
          a = t1 + t2;
        }
      }
      state_[0] += a;
      state_[1] += b;
      state_[2] += c;
      state_[3] += d;
      state_[4] += e;
      state_[5] += f;
      state_[6] += g;
      state_[7] += h;
    }
  }

  // The first 32 bits of the fractional parts of the square roots of the first 8 primes.
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, kBlock> block_;
  std::size_t pending_ = 0;
  std::uint64_t total_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_SHA256_HPP_

// --- inlay/formats/float16.hpp

// Half precision (IEEE binary16) and bfloat16 in portable integer arithmetic: the definition that scalar code, constant
// expressions and tests share. Kernels convert with SIMD instructions, which agree with these for every finite value.
#ifndef INLAY_FORMATS_FLOAT16_HPP_
#define INLAY_FORMATS_FLOAT16_HPP_

#include <bit>
#include <cstdint>

INLAY_BEGIN_NAMESPACE

inline constexpr float kMaxF16 = 65504.0f;  // the largest finite binary16

// Exact for every bit pattern; NaN keeps its sign and payload.
constexpr float F16ToF32(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t{half & 0x8000u} << 16;
  const std::uint32_t magnitude = std::uint32_t{half & 0x7FFFu} << 13;
  const std::uint32_t exponent = magnitude & (0x1Fu << 23);
  constexpr std::uint32_t kBiasChange = (127u - 15u) << 23;
  if (exponent == (0x1Fu << 23)) return std::bit_cast<float>(sign | (magnitude + 2 * kBiasChange));
  if (exponent != 0) return std::bit_cast<float>(sign | (magnitude + kBiasChange));
  // Subnormal: with the exponent of 2^-14 put in front, subtracting 2^-14 lets the hardware normalise. The difference
  // is exact and a normal float, so flush-to-zero modes do not touch it.
  const float value = std::bit_cast<float>(magnitude + kBiasChange + (1u << 23)) - 0x1p-14f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

// Rounds to nearest, ties to even; beyond kMaxF16 becomes infinity, NaN stays NaN (quiet, top payload bits kept).
constexpr std::uint16_t F32ToF16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
  std::uint32_t half = 0;
  if (magnitude > 0x7F800000u) {
    half = 0x7E00u | ((magnitude >> 13) & 0x1FFu);
  } else if (magnitude >= 0x47800000u) {  // 65536 and infinity
    half = 0x7C00u;
  } else if (magnitude < 0x38800000u) {
    // Below 2^-14 the result is subnormal with unit 2^-24, which is the unit of floats in [0.5, 1): adding 0.5 rounds.
    half = std::bit_cast<std::uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - std::bit_cast<std::uint32_t>(0.5f);
  } else {
    // Rebias, then round by adding just less than half a unit, or half a unit when the last kept bit is odd. A carry
    // out of the mantissa moves to the next exponent, and from 65520 on to infinity, as it must.
    half = (magnitude - ((127u - 15u) << 23) + 0xFFFu + ((magnitude >> 13) & 1u)) >> 13;
  }
  return static_cast<std::uint16_t>(sign | half);
}

// As F32ToF16, but values beyond kMaxF16 become +-kMaxF16: a scale must stay finite.
constexpr std::uint16_t F32ToF16Saturated(float value) {
  if (value > kMaxF16) value = kMaxF16;
  if (value < -kMaxF16) value = -kMaxF16;
  return F32ToF16(value);
}

// Exact: bfloat16 is the upper half of a float.
constexpr float BF16ToF32(std::uint16_t half) { return std::bit_cast<float>(std::uint32_t{half} << 16); }

// Rounds to nearest, ties to even; NaN stays NaN (quiet), even where its payload is only in the dropped bits.
constexpr std::uint16_t F32ToBF16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_FLOAT16_HPP_

// --- inlay/formats/codec.hpp

// The scalar codec: the definition of what every weight type's bits mean, and how floats are turned into them. Kernels,
// packing and tests are measured against it. Portable C++, usable without SIMD.
#ifndef INLAY_FORMATS_CODEC_HPP_
#define INLAY_FORMATS_CODEC_HPP_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

INLAY_BEGIN_NAMESPACE

// The 6-bit scales and mins of a Q4_K or Q5_K block. Bytes 0..3 hold scales 0..3 and bytes 4..7 mins 0..3 in their low
// six bits; byte 8 + i holds the low nibbles of scale and min 4 + i, whose upper bits are on top of bytes i and 4 + i.
struct GroupScales {
  std::uint8_t scale[8];
  std::uint8_t min[8];
};

constexpr GroupScales UnpackGroupScales(const std::uint8_t (&packed)[12]) {
  GroupScales groups{};
  for (int i = 0; i < 4; ++i) {
    groups.scale[i] = static_cast<std::uint8_t>(packed[i] & 63);
    groups.min[i] = static_cast<std::uint8_t>(packed[4 + i] & 63);
    groups.scale[4 + i] = static_cast<std::uint8_t>((packed[8 + i] & 15) | (packed[i] >> 6 << 4));
    groups.min[4 + i] = static_cast<std::uint8_t>((packed[8 + i] >> 4) | (packed[4 + i] >> 6 << 4));
  }
  return groups;
}

constexpr void PackGroupScales(const GroupScales& groups, std::uint8_t (&packed)[12]) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<std::uint8_t>(groups.scale[i] | (groups.scale[4 + i] >> 4 << 6));
    packed[4 + i] = static_cast<std::uint8_t>(groups.min[i] | (groups.min[4 + i] >> 4 << 6));
    packed[8 + i] = static_cast<std::uint8_t>((groups.scale[4 + i] & 15) | ((groups.min[4 + i] & 15) << 4));
  }
}

namespace detail {

// Nearest integer, ties to even, for |value| < 2^22. Adding 1.5 * 2^23 leaves the integer in the low mantissa bits;
// reading them as bits keeps it right under -ffast-math, where adding and subtracting would cancel.
inline int NearestInt(float value) {
  return static_cast<int>(std::bit_cast<std::uint32_t>(value + 12582912.0f) & 0x7FFFFFu) - 0x400000;
}

// NaN gives low.
inline float Clamp(float value, float low, float high) { return value > low ? (value < high ? value : high) : low; }

// The level of `value` among low .. high.
inline int Level(float value, int low, int high) {
  return NearestInt(Clamp(value, static_cast<float>(low), static_cast<float>(high)));
}

// With a scale of zero every value gets the level of zero.
inline float Inverse(float scale) { return scale == 0.0f ? 0.0f : 1.0f / scale; }

// The value of largest magnitude, with its sign; the first of equals.
inline float Extreme(const float* x, int count) {
  float extreme = 0.0f;
  for (int i = 0; i < count; ++i) {
    if ((x[i] < 0 ? -x[i] : x[i]) > (extreme < 0 ? -extreme : extreme)) extreme = x[i];
  }
  return extreme;
}

// The scale s that makes s * q, q in -reach .. reach - 1, closest to x in the least-squares sense: for a grid of trial
// scales around the one that maps the extreme value to -reach, levels are rounded and the best scale for these levels
// is solved for. The sign of s lets the extreme value use the longer side. Sums are in double: no input overflows.
inline float FitScale(const float* x, int count, int reach) {
  const float extreme = Extreme(x, count);
  if (extreme == 0.0f) return 0.0f;
  float best_scale = 0.0f;
  double best_gain = 0.0;
  for (int step = -9; step <= 9; ++step) {
    const float inverse = -(static_cast<float>(reach) + 0.1f * static_cast<float>(step)) / extreme;
    double sum_qx = 0.0;
    int sum_qq = 0;
    for (int i = 0; i < count; ++i) {
      const int q = Level(inverse * x[i], -reach, reach - 1);
      sum_qx += static_cast<double>(q) * static_cast<double>(x[i]);
      sum_qq += q * q;
    }
    // The squared error is sum x^2 - gain.
    const double gain = sum_qq == 0 ? 0.0 : sum_qx * sum_qx / sum_qq;
    if (gain > best_gain) {
      best_gain = gain;
      best_scale = static_cast<float>(sum_qx / sum_qq);
    }
  }
  return best_scale;
}

struct Affine {
  float scale;  // >= 0
  float base;   // value of level 0
};

// The affine map level -> scale * level + base, levels 0 .. top, closest to x in the least-squares sense; grid of trial
// scales as FitScale. With base_at_most_zero (K-quants store -base as an unsigned number) the base is held at 0 where
// it would be positive.
inline Affine FitAffine(const float* x, int count, int top, bool base_at_most_zero) {
  float low = x[0], high = x[0];
  for (int i = 1; i < count; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  if (base_at_most_zero && low > 0.0f) low = 0.0f;
  // In double: high - low may overflow a float.
  const double range = static_cast<double>(high) - static_cast<double>(low);
  double sum_x = 0.0, sum_xx = 0.0;
  for (int i = 0; i < count; ++i) {
    sum_x += static_cast<double>(x[i]);
    sum_xx += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  Affine best{static_cast<float>(range / top), low};
  if (best.scale == 0.0f) return best;
  double best_error = -1.0;
  for (int step = -10; step <= 10; ++step) {
    const float inverse = static_cast<float>((top + 0.1 * step) / range);
    int sum_q = 0, sum_qq = 0;
    double sum_qx = 0.0;
    for (int i = 0; i < count; ++i) {
      const int q = Level(inverse * (x[i] - low), 0, top);
      sum_q += q;
      sum_qq += q * q;
      sum_qx += static_cast<double>(q) * static_cast<double>(x[i]);
    }
    const double determinant = static_cast<double>(count) * sum_qq - static_cast<double>(sum_q) * sum_q;
    if (determinant <= 0.0) continue;
    double scale = (count * sum_qx - sum_q * sum_x) / determinant;
    double base = (sum_qq * sum_x - sum_q * sum_qx) / determinant;
    if (base_at_most_zero && base > 0.0) {
      base = 0.0;
      scale = sum_qx / sum_qq;
    }
    const double error = sum_xx + scale * scale * sum_qq + count * base * base +
                         2.0 * (scale * base * sum_q - scale * sum_qx - base * sum_x);
    if (scale > 0.0 && (best_error < 0.0 || error < best_error)) {
      best_error = error < 0.0 ? 0.0 : error;
      best = {static_cast<float>(scale), static_cast<float>(base)};
    }
  }
  return best;
}

// Squared error of x against scale * level + base with the nearest levels low .. high.
inline double ErrorOf(const float* x, int count, float scale, float base, int low, int high) {
  const float inverse = Inverse(scale);
  double error = 0.0;
  for (int i = 0; i < count; ++i) {
    const int q = Level(inverse * (x[i] - base), low, high);
    const double difference = static_cast<double>(scale * static_cast<float>(q) + base) - static_cast<double>(x[i]);
    error += difference * difference;
  }
  return error;
}

// Nibbles of 32 levels in the order of Q4_0: j and j + 16 share a byte.
inline void StoreNibbles(const std::uint8_t* levels, std::uint8_t (&qs)[16]) {
  for (int j = 0; j < 16; ++j) qs[j] = static_cast<std::uint8_t>((levels[j] & 15) | ((levels[j + 16] & 15) << 4));
}
inline void StoreFifthBits(const std::uint8_t* levels, std::uint8_t (&qh)[4]) {
  std::uint32_t bits = 0;
  for (int j = 0; j < 32; ++j) bits |= static_cast<std::uint32_t>(levels[j] >> 4) << j;
  std::memcpy(qh, &bits, 4);
}
template <class Block>
int FiveBitLevel(const Block& block, int j) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, block.qh, 4);
  const int nibble = j < 16 ? block.qs[j] & 15 : block.qs[j - 16] >> 4;
  return nibble | static_cast<int>((bits >> j & 1u) << 4);
}

// Levels of 32 values for x = scale * level + base, with the scale and base as they are stored.
inline void AffineLevels(const float* x, int count, float scale, float base, int top, std::uint8_t* levels) {
  const float inverse = Inverse(scale);
  for (int i = 0; i < count; ++i) levels[i] = static_cast<std::uint8_t>(Level(inverse * (x[i] - base), 0, top));
}
// The same for x = scale * (level - reach).
inline void SymmetricLevels(const float* x, int count, float scale, int reach, std::uint8_t* levels) {
  const float inverse = Inverse(scale);
  for (int i = 0; i < count; ++i) {
    levels[i] = static_cast<std::uint8_t>(Level(inverse * x[i], -reach, reach - 1) + reach);
  }
}

// Scales, mins and levels of a Q4_K (top 15) or Q5_K (top 31) block.
struct GroupedLevels {
  std::uint16_t d;
  std::uint16_t dmin;
  GroupScales groups;
  std::uint8_t levels[256];
};

inline void EncodeGroups(const float* x, int top, GroupedLevels& out) {
  Affine fits[8];
  float most_scale = 0.0f, most_min = 0.0f;
  for (int g = 0; g < 8; ++g) {
    fits[g] = FitAffine(x + 32 * g, 32, top, true);
    most_scale = fits[g].scale > most_scale ? fits[g].scale : most_scale;
    most_min = -fits[g].base > most_min ? -fits[g].base : most_min;
  }
  out.d = F32ToF16Saturated(most_scale / 63.0f);
  out.dmin = F32ToF16Saturated(most_min / 63.0f);
  const float d = F16ToF32(out.d), dmin = F16ToF32(out.dmin);
  const float inverse_d = Inverse(d), inverse_dmin = Inverse(dmin);
  for (int g = 0; g < 8; ++g) {
    const float* group = x + 32 * g;
    const int scale = Level(inverse_d * fits[g].scale, 0, 63);
    const int min = Level(inverse_dmin * -fits[g].base, 0, 63);
    // Rounding scale and min each on its own is not the best pair: the neighbours are tried too.
    int best_scale = scale, best_min = min;
    double best_error = ErrorOf(group, 32, d * static_cast<float>(scale), -dmin * static_cast<float>(min), 0, top);
    for (int s = scale > 0 ? scale - 1 : 0; s <= scale + 1 && s <= 63; ++s) {
      for (int m = min > 0 ? min - 1 : 0; m <= min + 1 && m <= 63; ++m) {
        const double error = ErrorOf(group, 32, d * static_cast<float>(s), -dmin * static_cast<float>(m), 0, top);
        if (error < best_error) {
          best_error = error;
          best_scale = s;
          best_min = m;
        }
      }
    }
    out.groups.scale[g] = static_cast<std::uint8_t>(best_scale);
    out.groups.min[g] = static_cast<std::uint8_t>(best_min);
    AffineLevels(group, 32, d * static_cast<float>(best_scale), -dmin * static_cast<float>(best_min), top,
                 out.levels + 32 * g);
  }
}

}  // namespace detail

// One weight type: kValues values per Block; Decode writes kValues floats, Encode reads kValues finite floats.
//
// Decoding is exact to the bit on every machine: a binary16 scale (11 bits) times a 6-bit sub-scale times a 5-bit level
// fits a float's 24 bits, so each formula rounds at most once, whether or not the compiler fuses the multiply-add.
// Encoding minimises the plain squared error by a scale search. It is deterministic for one build; fused multiply-adds
// may flip a tie between two builds. Scales saturate at the largest binary16, so finite input never decodes to NaN or
// infinity (an exception is F16 itself, which rounds values beyond 65504 to infinity as IEEE 754 says).
template <WeightType kType>
struct Codec;

template <>
struct Codec<WeightType::kF32> {
  using Block = float;
  static constexpr std::size_t kValues = 1;
  static void Decode(const Block& block, float* out) { *out = block; }
  static void Encode(const float* x, Block& block) { block = *x; }
};

template <>
struct Codec<WeightType::kF16> {
  using Block = std::uint16_t;
  static constexpr std::size_t kValues = 1;
  static void Decode(const Block& block, float* out) { *out = F16ToF32(block); }
  static void Encode(const float* x, Block& block) { block = F32ToF16(*x); }
};

template <>
struct Codec<WeightType::kBF16> {
  using Block = std::uint16_t;
  static constexpr std::size_t kValues = 1;
  static void Decode(const Block& block, float* out) { *out = BF16ToF32(block); }
  static void Encode(const float* x, Block& block) { block = F32ToBF16(*x); }
};

template <>
struct Codec<WeightType::kQ8_0> {
  using Block = BlockQ8_0;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.qs[j]);
  }
  // With 8 bits a search gains nothing measurable: the extreme value maps to +-127.
  static void Encode(const float* x, Block& block) {
    const float extreme = detail::Extreme(x, 32);
    block.d = F32ToF16Saturated((extreme < 0 ? -extreme : extreme) / 127.0f);
    const float inverse = detail::Inverse(F16ToF32(block.d));
    for (int j = 0; j < 32; ++j) block.qs[j] = static_cast<std::int8_t>(detail::Level(inverse * x[j], -127, 127));
  }
};

template <>
struct Codec<WeightType::kQ4_0> {
  using Block = BlockQ4_0;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>((block.qs[j] & 15) - 8);
      out[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
    }
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    block.d = F32ToF16Saturated(detail::FitScale(x, 32, 8));
    detail::SymmetricLevels(x, 32, F16ToF32(block.d), 8, levels);
    detail::StoreNibbles(levels, block.qs);
  }
};

template <>
struct Codec<WeightType::kQ4_1> {
  using Block = BlockQ4_1;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), m = F16ToF32(block.m);
    for (int j = 0; j < 16; ++j) {
      out[j] = d * static_cast<float>(block.qs[j] & 15) + m;
      out[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
    }
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    const detail::Affine fit = detail::FitAffine(x, 32, 15, false);
    block.d = F32ToF16Saturated(fit.scale);
    block.m = F32ToF16Saturated(fit.base);
    detail::AffineLevels(x, 32, F16ToF32(block.d), F16ToF32(block.m), 15, levels);
    detail::StoreNibbles(levels, block.qs);
  }
};

template <>
struct Codec<WeightType::kQ5_0> {
  using Block = BlockQ5_0;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(detail::FiveBitLevel(block, j) - 16);
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    block.d = F32ToF16Saturated(detail::FitScale(x, 32, 16));
    detail::SymmetricLevels(x, 32, F16ToF32(block.d), 16, levels);
    detail::StoreNibbles(levels, block.qs);
    detail::StoreFifthBits(levels, block.qh);
  }
};

template <>
struct Codec<WeightType::kQ5_1> {
  using Block = BlockQ5_1;
  static constexpr std::size_t kValues = 32;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), m = F16ToF32(block.m);
    for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(detail::FiveBitLevel(block, j)) + m;
  }
  static void Encode(const float* x, Block& block) {
    std::uint8_t levels[32];
    const detail::Affine fit = detail::FitAffine(x, 32, 31, false);
    block.d = F32ToF16Saturated(fit.scale);
    block.m = F32ToF16Saturated(fit.base);
    detail::AffineLevels(x, 32, F16ToF32(block.d), F16ToF32(block.m), 31, levels);
    detail::StoreNibbles(levels, block.qs);
    detail::StoreFifthBits(levels, block.qh);
  }
};

template <>
struct Codec<WeightType::kQ4_K> {
  using Block = BlockQ4_K;
  static constexpr std::size_t kValues = 256;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
    const GroupScales groups = UnpackGroupScales(block.scales);
    for (int g = 0; g < 8; ++g) {
      const float scale = d * static_cast<float>(groups.scale[g]);
      const float min = dmin * static_cast<float>(groups.min[g]);
      const std::uint8_t* qs = block.qs + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int j = 0; j < 32; ++j) out[32 * g + j] = scale * static_cast<float>(qs[j] >> shift & 15) - min;
    }
  }
  static void Encode(const float* x, Block& block) {
    detail::GroupedLevels grouped;
    detail::EncodeGroups(x, 15, grouped);
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    PackGroupScales(grouped.groups, block.scales);
    for (int i = 0; i < 128; ++i) {
      const std::uint8_t* levels = grouped.levels + i / 32 * 64 + i % 32;
      block.qs[i] = static_cast<std::uint8_t>(levels[0] | (levels[32] << 4));
    }
  }
};

template <>
struct Codec<WeightType::kQ5_K> {
  using Block = BlockQ5_K;
  static constexpr std::size_t kValues = 256;
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d), dmin = F16ToF32(block.dmin);
    const GroupScales groups = UnpackGroupScales(block.scales);
    for (int g = 0; g < 8; ++g) {
      const float scale = d * static_cast<float>(groups.scale[g]);
      const float min = dmin * static_cast<float>(groups.min[g]);
      const std::uint8_t* qs = block.qs + g / 2 * 32;
      const int shift = g % 2 * 4;
      for (int j = 0; j < 32; ++j) {
        const int level = (qs[j] >> shift & 15) | (block.qh[j] >> g & 1) << 4;
        out[32 * g + j] = scale * static_cast<float>(level) - min;
      }
    }
  }
  static void Encode(const float* x, Block& block) {
    detail::GroupedLevels grouped;
    detail::EncodeGroups(x, 31, grouped);
    block.d = grouped.d;
    block.dmin = grouped.dmin;
    PackGroupScales(grouped.groups, block.scales);
    for (int i = 0; i < 128; ++i) {
      const std::uint8_t* levels = grouped.levels + i / 32 * 64 + i % 32;
      block.qs[i] = static_cast<std::uint8_t>((levels[0] & 15) | ((levels[32] & 15) << 4));
    }
    for (int j = 0; j < 32; ++j) {
      int bits = 0;
      for (int g = 0; g < 8; ++g) bits |= grouped.levels[32 * g + j] >> 4 << g;
      block.qh[j] = static_cast<std::uint8_t>(bits);
    }
  }
};

template <>
struct Codec<WeightType::kQ6_K> {
  using Block = BlockQ6_K;
  static constexpr std::size_t kValues = 256;
  // The level 0 .. 63 of value i (0 .. 255).
  static int LevelOf(const Block& block, int i) {
    const int half = i / 128, in_half = i % 128;
    const int low = block.ql[64 * half + in_half % 64] >> (in_half / 64 * 4) & 15;
    const int high = block.qh[32 * half + in_half % 32] >> (in_half / 32 * 2) & 3;
    return low | high << 4;
  }
  static void Decode(const Block& block, float* out) {
    const float d = F16ToF32(block.d);
    for (int g = 0; g < 16; ++g) {
      const float scale = d * static_cast<float>(block.scales[g]);
      for (int j = 0; j < 16; ++j) out[16 * g + j] = scale * static_cast<float>(LevelOf(block, 16 * g + j) - 32);
    }
  }
  static void Encode(const float* x, Block& block) {
    float fits[16];
    for (int g = 0; g < 16; ++g) fits[g] = detail::FitScale(x + 16 * g, 16, 32);
    // As the levels, the scales have one value more on the negative side: the extreme one maps to -128.
    block.d = F32ToF16Saturated(detail::Extreme(fits, 16) / -128.0f);
    const float d = F16ToF32(block.d);
    const float inverse = detail::Inverse(d);
    std::uint8_t levels[256];
    for (int g = 0; g < 16; ++g) {
      const float* group = x + 16 * g;
      const int nearest = detail::Level(inverse * fits[g], -128, 127);
      int best = nearest;
      double best_error = detail::ErrorOf(group, 16, d * static_cast<float>(nearest), 0.0f, -32, 31);
      for (int s = nearest > -128 ? nearest - 1 : -128; s <= nearest + 1 && s <= 127; ++s) {
        const double error = detail::ErrorOf(group, 16, d * static_cast<float>(s), 0.0f, -32, 31);
        if (error < best_error) {
          best_error = error;
          best = s;
        }
      }
      block.scales[g] = static_cast<std::int8_t>(best);
      detail::SymmetricLevels(group, 16, d * static_cast<float>(best), 32, levels + 16 * g);
    }
    for (int half = 0; half < 2; ++half) {
      const std::uint8_t* l = levels + 128 * half;
      for (int j = 0; j < 64; ++j) {
        block.ql[64 * half + j] = static_cast<std::uint8_t>((l[j] & 15) | ((l[j + 64] & 15) << 4));
      }
      for (int j = 0; j < 32; ++j) {
        block.qh[32 * half + j] = static_cast<std::uint8_t>((l[j] >> 4) | (l[j + 32] >> 4 << 2) |
                                                            (l[j + 64] >> 4 << 4) | (l[j + 96] >> 4 << 6));
      }
    }
  }
};

namespace detail {

// Blocks are copied out and in, because rows in a file need not be aligned.
template <WeightType kType>
void DecodeRowAs(const std::byte* src, std::size_t cols, float* out) {
  using Format = Codec<kType>;
  for (std::size_t i = 0; i < cols; i += Format::kValues, src += sizeof(typename Format::Block)) {
    typename Format::Block block;
    std::memcpy(&block, src, sizeof(block));
    Format::Decode(block, out + i);
  }
}

template <WeightType kType>
void EncodeRowAs(const float* src, std::size_t cols, std::byte* out) {
  using Format = Codec<kType>;
  for (std::size_t i = 0; i < cols; i += Format::kValues, out += sizeof(typename Format::Block)) {
    typename Format::Block block;
    Format::Encode(src + i, block);
    std::memcpy(out, &block, sizeof(block));
  }
}

// Calls f.template operator()<kType>() for the run-time `type`, which must be in the list.
template <WeightType... kTypes, class Function>
void ForType(WeightType type, Formats<kTypes...>, Function&& function) {
  [[maybe_unused]] const bool found =
      ((type == kTypes ? (function.template operator()<kTypes>(), true) : false) || ...);
  INLAY_ASSERT(found);
}

}  // namespace detail

// Decodes one row: `cols` floats from RowBytes(type, cols) bytes of any alignment. `cols` is a multiple of the type's
// block_values and the type one of AllFormats. Cost: 0.2 to 2 ns per value, scalar.
inline void DecodeRow(WeightType type, const std::byte* src, std::size_t cols, float* out) {
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() { detail::DecodeRowAs<kType>(src, cols, out); });
}

// Encodes one row: RowBytes(type, cols) bytes from `cols` finite floats. Preconditions as DecodeRow; src and out do not
// overlap. The same input gives the same bytes. Cost: 1 to 5 ns per value up to Q8_0, 40 to 70 with a scale search.
inline void EncodeRow(WeightType type, const float* src, std::size_t cols, std::byte* out) {
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() { detail::EncodeRowAs<kType>(src, cols, out); });
}

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_CODEC_HPP_

// --- inlay/formats/kv_type.hpp

// The element types of a key/value cache.
#ifndef INLAY_FORMATS_KV_TYPE_HPP_
#define INLAY_FORMATS_KV_TYPE_HPP_

#include <array>
#include <cstdint>
#include <string_view>

INLAY_BEGIN_NAMESPACE

enum class KvType : std::uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8,  // int8 with one float32 scale per position and head
};

constexpr std::string_view Name(KvType type) {
  switch (type) {
    case KvType::kF32: return "f32";
    case KvType::kF16: return "f16";
    case KvType::kBF16: return "bf16";
    case KvType::kQ8: return "q8";
  }
  return "unknown";
}

// A closed list of cache types: what a model type is compiled for. Each costs about 20 KiB of code and a second of the
// compiler's time.
template <KvType... kTypes>
struct KvTypes {
  static constexpr std::array<KvType, sizeof...(kTypes)> kList = {kTypes...};
  static constexpr bool Contains(KvType type) { return ((type == kTypes) || ...); }
};

using AllKvTypes = KvTypes<KvType::kF32, KvType::kF16, KvType::kBF16, KvType::kQ8>;
// Half of the memory at no cost in quality that can be measured, and a quarter of it for long contexts.
using CommonKvTypes = KvTypes<KvType::kF16, KvType::kQ8>;

INLAY_END_NAMESPACE

#endif  // INLAY_FORMATS_KV_TYPE_HPP_

// --- inlay/generate/random.hpp

// Random numbers that are the same on every machine. Apart from the sampler because search and tests draw as well, and
// because <random>'s distributions differ between standard libraries.
#ifndef INLAY_GENERATE_RANDOM_HPP_
#define INLAY_GENERATE_RANDOM_HPP_

#include <cstdint>

INLAY_BEGIN_NAMESPACE

// PCG32 (XSH-RR, 64 bits of state; M. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
// Algorithms for Random Number Generation", 2014; https://www.pcg-random.org). Integer arithmetic only, so a seed gives
// one sequence everywhere. Not for secrets.
class Pcg32 {
 public:
  // `stream` selects one of 2^63 sequences that do not overlap for the same seed.
  constexpr explicit Pcg32(std::uint64_t seed = 0, std::uint64_t stream = 0) : increment_((stream << 1) | 1) {
    Next();
    state_ += seed;
    Next();
  }

  // 32 uniform bits.
  constexpr std::uint32_t Next() {
    const std::uint64_t old = state_;
    state_ = old * 6364136223846793005ULL + increment_;
    const std::uint32_t shifted = static_cast<std::uint32_t>(((old >> 18) ^ old) >> 27);
    const std::uint32_t rotation = static_cast<std::uint32_t>(old >> 59);
    return (shifted >> rotation) | (shifted << ((32 - rotation) & 31));
  }

  // Uniform in [0, 1), all 53 bits of a double's significand; takes two steps.
  constexpr double NextUnit() {
    const std::uint64_t high = Next() >> 5;
    const std::uint64_t low = Next() >> 6;
    return static_cast<double>((high << 26) | low) * 0x1p-53;
  }

  // The whole state, to save and resume a sequence.
  constexpr std::uint64_t state() const { return state_; }
  constexpr void set_state(std::uint64_t state) { state_ = state; }

 private:
  std::uint64_t state_ = 0;
  std::uint64_t increment_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_RANDOM_HPP_

// --- inlay/generate/sampler.hpp

// From logits to a token: penalties, top-k, top-p, min-p, temperature and the draw, over memory that the caller gives.
#ifndef INLAY_GENERATE_SAMPLER_HPP_
#define INLAY_GENERATE_SAMPLER_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// How the next token is chosen. The defaults are greedy. The steps run in this order, each on what the one before left:
// penalties, top-k, top-p, min-p, temperature, draw (top-p and min-p see the probabilities before the temperature).
struct SamplerOptions {
  // Divides the logits; above 1 flatter, below 1 sharper. 0: no chance, the token with the largest logit is taken (the
  // lowest id among equals), and top-k, top-p, min-p and the seed mean nothing.
  float temperature = 0.0f;
  // Only the k tokens with the largest logits (the lower ids among equals); 0: all.
  std::size_t top_k = 0;
  // Only the smallest set of most likely tokens whose probabilities add up to this; 1: all. (Holtzman et al., "The
  // Curious Case of Neural Text Degeneration", 2019.)
  float top_p = 1.0f;
  // Only tokens at least this share as likely as the likeliest; 0: all. (Nguyen et al., "Turning Up the Heat: Min-p
  // Sampling", 2024.)
  float min_p = 0.0f;
  // Tokens in the window: a positive logit is divided by this, another one multiplied; 1: off. (Keskar et al., "CTRL",
  // 2019.)
  float repetition_penalty = 1.0f;
  // Tokens in the window: lowers the logit by this for each occurrence; 0: off.
  float frequency_penalty = 0.0f;
  // Tokens in the window: lowers the logit by this once; 0: off.
  float presence_penalty = 0.0f;
  // The window: how many of the last accepted tokens the penalties look at.
  std::size_t penalty_window = 64;
  // Starts the sequence of random numbers (Pcg32): equal seeds and equal logits give equal tokens.
  std::uint64_t seed = 0;

  constexpr bool penalizes() const {
    return repetition_penalty != 1.0f || frequency_penalty != 0.0f || presence_penalty != 0.0f;
  }

  // kInvalidArgument naming the first option that is out of its range.
  constexpr Result<void> Validate() const;
};

namespace detail {

constexpr bool IsFinite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

// Integers in the order of the floats they stand for; both zeros are one. Comparing integers keeps its meaning under
// -ffast-math, and compilers vectorise a maximum of integers but not one of floats.
constexpr std::int32_t OrderedBits(float value) {
  const std::int32_t bits = std::bit_cast<std::int32_t>(value);
  const std::int32_t magnitude = bits & 0x7FFFFFFF;
  return bits < 0 ? -magnitude : magnitude;
}

// e^x for x <= 0, relative error below 5e-7; all below -87 is e^-87 (1.6e-38). Own arithmetic, because libraries differ
// in the last bits, and without a branch or a comparison of floats (which may trap), so that loops over a vocabulary
// vectorise. Cody and Waite's reduction, then the Taylor polynomial of degree 6.
inline float ExpOfNegative(float x) {
  // Among negative floats the bits, taken as an unsigned number, grow with the magnitude.
  constexpr std::uint32_t kLeast = std::bit_cast<std::uint32_t>(-87.0f);
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const float clamped = std::bit_cast<float>(bits < kLeast ? bits : kLeast);
  const std::int32_t exponent = static_cast<std::int32_t>(clamped * 1.44269504f - 0.5f);
  const float n = static_cast<float>(exponent);
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((exponent + 127) << 23);
}

}  // namespace detail

constexpr Result<void> SamplerOptions::Validate() const {
  const auto in_range = [](float value, float low, float high) {
    return detail::IsFinite(value) && value >= low && value <= high;
  };
  if (!in_range(temperature, 0.0f, 1e6f)) {
    return Fail(ErrorCode::kInvalidArgument, "temperature", "must be 0 (greedy) or a positive number up to 1000000");
  }
  if (!in_range(top_p, 0.0f, 1.0f) || top_p == 0.0f) {
    return Fail(ErrorCode::kInvalidArgument, "top_p", "must be above 0 and at most 1 (off)");
  }
  if (!in_range(min_p, 0.0f, 1.0f)) {
    return Fail(ErrorCode::kInvalidArgument, "min_p", "must be from 0 (off) to 1");
  }
  if (!in_range(repetition_penalty, 0.0f, 1000.0f) || repetition_penalty == 0.0f) {
    return Fail(ErrorCode::kInvalidArgument, "repetition_penalty", "must be above 0 and at most 1000; 1 is off");
  }
  if (!in_range(frequency_penalty, -1000.0f, 1000.0f)) {
    return Fail(ErrorCode::kInvalidArgument, "frequency_penalty", "must be from -1000 to 1000; 0 is off");
  }
  if (!in_range(presence_penalty, -1000.0f, 1000.0f)) {
    return Fail(ErrorCode::kInvalidArgument, "presence_penalty", "must be from -1000 to 1000; 0 is off");
  }
  if (penalizes() && penalty_window == 0) {
    return Fail(ErrorCode::kInvalidArgument, "penalty_window", "must not be 0 when a penalty is set");
  }
  return {};
}

// Chooses tokens for one sequence. All memory is taken from the arena in Create; Sample and Accept allocate nothing.
// Movable and copyable as a view of that memory (copies share it: make one sampler for each sequence).
class Sampler {
 public:
  // The arena bytes that Create takes.
  static constexpr std::size_t MemoryBytes(const SamplerOptions& options, std::size_t vocab) {
    std::size_t bytes = ArenaBytes<Candidate>(CandidateCount(options, vocab));
    if (options.penalizes()) {
      bytes +=
          ArenaBytes<float>(vocab) + ArenaBytes<std::uint32_t>(vocab) + ArenaBytes<TokenId>(options.penalty_window);
    }
    return bytes;
  }

  // kInvalidArgument: an option is out of range (named), or `vocab` is 0 or more than token ids can number.
  // kOutOfMemory: the arena has less than MemoryBytes.
  static Result<Sampler> Create(const SamplerOptions& options, std::size_t vocab, Arena& arena) {
    INLAY_CHECK_OK(options.Validate());
    if (vocab == 0 || vocab > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) {
      return Fail(ErrorCode::kInvalidArgument, "vocab", "must be from 1 to 2147483647");
    }
    Sampler sampler(options, vocab);
    INLAY_ASSIGN_OR_RETURN(sampler.candidates_,
                           arena.Allocate<Candidate>(CandidateCount(options, vocab), "sampler candidates"));
    if (options.penalizes()) {
      INLAY_ASSIGN_OR_RETURN(sampler.penalized_, arena.Allocate<float>(vocab, "sampler logits"));
      INLAY_ASSIGN_OR_RETURN(sampler.counts_, arena.Allocate<std::uint32_t>(vocab, "sampler counts"));
      INLAY_ASSIGN_OR_RETURN(sampler.window_, arena.Allocate<TokenId>(options.penalty_window, "penalty window"));
    }
    sampler.Reset(options.seed);
    return sampler;
  }

  // Forgets the window and starts the random sequence of `seed`.
  void Reset(std::uint64_t seed) {
    random_ = Pcg32(seed);
    std::fill(counts_.begin(), counts_.end(), 0u);
    window_size_ = 0;
    window_next_ = 0;
  }

  // The next token for `logits` (one per token of the vocabulary, in id order; not changed). Does not add it to the
  // window: call Accept for every token that enters the sequence, those of the prompt included.
  // kMismatch: not as many logits as tokens. kNonFinite: a logit is NaN or infinite; the error names the first one.
  // Cost: one pass over the logits; greedy no more than two. With top-k, the k best are kept in a heap (k log k more);
  // without it, top-p and plain sampling take an exponential for each token, and top-p sorts only as far as it must.
  // Takes one draw per call unless the temperature is 0.
  Result<TokenId> Sample(std::span<const float> logits) {
    if (logits.size() != vocab_) {
      return Fail(ErrorCode::kMismatch, "logits", logits.size(), " values for a vocabulary of ", vocab_);
    }
    Range range = RangeOf(logits);
    if (!range.finite()) return NonFinite(logits);
    if (window_size_ != 0) {
      logits = Penalize(logits);
      range = RangeOf(logits);
    }
    if (options_.temperature == 0.0f) return FirstEqual(logits, range.largest);
    const double chance = random_.NextUnit();
    const float largest = range.largest_value();
    if (candidates_.empty()) return DrawFromAll(logits, largest, chance);
    return DrawFrom(options_.top_k != 0 ? SelectTopK(logits) : SelectLikely(logits, largest), largest, chance);
  }

  // Adds a token to the window of the penalties. Ids outside the vocabulary are ignored.
  void Accept(TokenId token) {
    if (window_.empty() || token < 0 || static_cast<std::size_t>(token) >= vocab_) return;
    if (window_size_ == window_.size()) {
      --counts_[static_cast<std::size_t>(window_[window_next_])];
    } else {
      ++window_size_;
    }
    window_[window_next_] = token;
    ++counts_[static_cast<std::size_t>(token)];
    if (++window_next_ == window_.size()) window_next_ = 0;
  }

  const SamplerOptions& options() const { return options_; }
  std::size_t vocab() const { return vocab_; }
  // The random sequence, to save and resume it.
  Pcg32& random() { return random_; }

 private:
  struct Candidate {
    float logit;
    TokenId id;
  };

  // Smallest and largest logit as OrderedBits.
  struct Range {
    std::int32_t smallest = std::numeric_limits<std::int32_t>::max();
    std::int32_t largest = std::numeric_limits<std::int32_t>::min();

    void Add(std::int32_t bits) {
      smallest = bits < smallest ? bits : smallest;
      largest = bits > largest ? bits : largest;
    }
    // NaN and infinity lie outside all finite floats, on both sides.
    bool finite() const { return largest < kInfinityBits && smallest > -kInfinityBits; }
    float largest_value() const {
      return std::bit_cast<float>(largest < 0 ? static_cast<std::int32_t>(static_cast<std::uint32_t>(-largest) | kSign)
                                              : largest);
    }

    static constexpr std::int32_t kInfinityBits = 0x7F800000;
    static constexpr std::uint32_t kSign = 0x80000000u;
  };

  Sampler(const SamplerOptions& options, std::size_t vocab) : options_(options), vocab_(vocab) {}

  // Greedy and plain sampling read the logits where they are; a truncation keeps a list.
  static constexpr std::size_t CandidateCount(const SamplerOptions& options, std::size_t vocab) {
    if (options.temperature == 0.0f) return 0;
    if (options.top_k != 0) return options.top_k < vocab ? options.top_k : vocab;
    return options.top_p < 1.0f || options.min_p > 0.0f ? vocab : 0;
  }

  // A total order (larger logits first, then lower ids), so that every algorithm, and every standard library, selects
  // and sorts to the same result.
  static bool Before(const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  }
  static bool After(const Candidate& a, const Candidate& b) { return Before(b, a); }

  // The inner loop has a fixed length and no branch: what compilers need to vectorise it at -O2.
  static Range RangeOf(std::span<const float> logits) {
    constexpr std::size_t kLanes = 32;
    std::array<std::int32_t, kLanes> smallest;
    std::array<std::int32_t, kLanes> largest;
    smallest.fill(std::numeric_limits<std::int32_t>::max());
    largest.fill(std::numeric_limits<std::int32_t>::min());
    std::size_t i = 0;
    for (; i + kLanes <= logits.size(); i += kLanes) {
      const float* block = logits.data() + i;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const std::int32_t bits = detail::OrderedBits(block[lane]);
        smallest[lane] = bits < smallest[lane] ? bits : smallest[lane];
        largest[lane] = bits > largest[lane] ? bits : largest[lane];
      }
    }
    Range range;
    if (i != 0) {
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        range.Add(smallest[lane]);
        range.Add(largest[lane]);
      }
    }
    for (; i < logits.size(); ++i) range.Add(detail::OrderedBits(logits[i]));
    return range;
  }

  static Error NonFinite(std::span<const float> logits) {
    std::size_t i = 0;
    while (detail::IsFinite(logits[i])) ++i;
    return Fail(ErrorCode::kNonFinite, "logits", "the logit of token ", i, " is NaN or infinite");
  }

  static TokenId FirstEqual(std::span<const float> logits, std::int32_t largest) {
    std::size_t i = 0;
    while (detail::OrderedBits(logits[i]) != largest) ++i;
    return static_cast<TokenId>(i);
  }

  // The logits with the penalties in a buffer of our own. A token that is in the window more than once is computed
  // more than once, to the same value.
  std::span<const float> Penalize(std::span<const float> logits) {
    std::copy(logits.begin(), logits.end(), penalized_.begin());
    for (std::size_t i = 0; i < window_size_; ++i) {
      const std::size_t id = static_cast<std::size_t>(window_[i]);
      const float repetition = options_.repetition_penalty;
      const float scaled = logits[id] > 0.0f ? logits[id] / repetition : logits[id] * repetition;
      const float lowered =
          scaled - static_cast<float>(counts_[id]) * options_.frequency_penalty - options_.presence_penalty;
      constexpr float kMax = std::numeric_limits<float>::max();
      penalized_[id] = lowered > kMax ? kMax : lowered < -kMax ? -kMax : lowered;
    }
    return penalized_;
  }

  // The k best, best first. The heap's front is the worst that is kept; with ids ascending, an equal logit that comes
  // later never replaces it.
  std::span<Candidate> SelectTopK(std::span<const float> logits) {
    const std::size_t k = candidates_.size();
    for (std::size_t i = 0; i < k; ++i) candidates_[i] = {logits[i], static_cast<TokenId>(i)};
    std::make_heap(candidates_.begin(), candidates_.end(), Before);
    for (std::size_t i = k; i < logits.size(); ++i) {
      if (!(logits[i] > candidates_.front().logit)) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), Before);
      candidates_.back() = {logits[i], static_cast<TokenId>(i)};
      std::push_heap(candidates_.begin(), candidates_.end(), Before);
    }
    std::sort_heap(candidates_.begin(), candidates_.end(), Before);

    const float largest = candidates_.front().logit;
    std::size_t kept = k;
    if (options_.top_p < 1.0f) {
      double total = 0.0;
      for (const Candidate& candidate : candidates_) total += detail::ExpOfNegative(candidate.logit - largest);
      double mass = 0.0;
      for (kept = 0; kept < k && mass < options_.top_p * total; ++kept) {
        mass += detail::ExpOfNegative(candidates_[kept].logit - largest);
      }
    }
    if (options_.min_p > 0.0f) {
      const float threshold = MinPThreshold(largest);
      while (kept > 1 && candidates_[kept - 1].logit < threshold) --kept;
    }
    return candidates_.first(kept);
  }

  // Top-p and min-p over the whole vocabulary. Tokens so unlikely that all of them together cannot be needed to reach
  // top_p are dropped before anything is ordered; of the rest, only as many as the nucleus has are taken off a heap.
  std::span<Candidate> SelectLikely(std::span<const float> logits, float largest) {
    float threshold = options_.min_p > 0.0f ? MinPThreshold(largest) : -std::numeric_limits<float>::max();
    double total = 0.0;
    if (options_.top_p < 1.0f) {
      for (std::size_t i = 0; i < logits.size(); i += kBlock) total += BlockWeight(logits, i, largest, 1.0f);
      const double negligible = (1.0 - options_.top_p) * total / static_cast<double>(logits.size());
      // Half of it: the logarithm and the sum are rounded.
      threshold = std::max(threshold, largest + std::log(static_cast<float>(0.5 * negligible)));
    }
    std::size_t count = 0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      candidates_[count] = {logits[i], static_cast<TokenId>(i)};
      count += logits[i] >= threshold ? 1 : 0;
    }
    const std::span<Candidate> likely = candidates_.first(count);
    if (options_.top_p == 1.0f) return likely;

    std::make_heap(likely.begin(), likely.end(), After);
    std::size_t kept = 0;
    for (double mass = 0.0; kept < count && mass < options_.top_p * total; ++kept) {
      std::pop_heap(likely.begin(), likely.end() - static_cast<std::ptrdiff_t>(kept), After);
      mass += detail::ExpOfNegative(likely[count - 1 - kept].logit - largest);
    }
    const std::span<Candidate> nucleus = likely.last(kept);
    std::reverse(nucleus.begin(), nucleus.end());
    return nucleus;
  }

  // A logit at or above this is at least min_p times as likely as the largest one.
  float MinPThreshold(float largest) const { return largest + std::log(options_.min_p); }

  TokenId DrawFrom(std::span<Candidate> candidates, float largest, double chance) const {
    const float inverse = InverseTemperature();
    double total = 0.0;
    for (Candidate& candidate : candidates) {
      candidate.logit = detail::ExpOfNegative((candidate.logit - largest) * inverse);
      total += candidate.logit;
    }
    const double target = chance * total;
    double mass = 0.0;
    for (const Candidate& candidate : candidates) {
      mass += candidate.logit;
      if (mass > target) return candidate.id;
    }
    return candidates.front().id;
  }

  // Draws with no list: sums the weights in blocks, then computes again the blocks up to the one that the draw is in.
  TokenId DrawFromAll(std::span<const float> logits, float largest, double chance) const {
    const float inverse = InverseTemperature();
    double total = 0.0;
    for (std::size_t i = 0; i < logits.size(); i += kBlock) total += BlockWeight(logits, i, largest, inverse);
    const double target = chance * total;
    double before = 0.0;
    std::size_t start = 0;
    for (;; start += kBlock) {
      const double weight = BlockWeight(logits, start, largest, inverse);
      if (before + weight > target || start + kBlock >= logits.size()) break;
      before += weight;
    }
    const std::size_t end = std::min(start + kBlock, logits.size());
    std::size_t likeliest = start;
    double mass = before;
    for (std::size_t i = start; i < end; ++i) {
      mass += detail::ExpOfNegative((logits[i] - largest) * inverse);
      if (mass > target) return static_cast<TokenId>(i);
      if (logits[i] > logits[likeliest]) likeliest = i;
    }
    // Adding one by one rounds differently from adding in lanes: the draw was on the last hair of this block.
    return static_cast<TokenId>(likeliest);
  }

  // The sum of e^((logit - largest) * inverse) over one block, in an order that does not depend on the machine.
  static double BlockWeight(std::span<const float> logits, std::size_t start, float largest, float inverse) {
    constexpr std::size_t kLanes = 16;
    std::array<float, kLanes> sums{};
    const std::size_t end = std::min(start + kBlock, logits.size());
    std::size_t i = start;
    for (; i + kLanes <= end; i += kLanes) {
      const float* block = logits.data() + i;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        sums[lane] += detail::ExpOfNegative((block[lane] - largest) * inverse);
      }
    }
    double total = 0.0;
    for (; i < end; ++i) total += detail::ExpOfNegative((logits[i] - largest) * inverse);
    for (const float sum : sums) total += sum;
    return total;
  }

  // Finite even for the smallest temperature: 0 times infinity would be NaN.
  float InverseTemperature() const {
    constexpr float kMax = std::numeric_limits<float>::max();
    return options_.temperature < 1.0f / kMax ? kMax : 1.0f / options_.temperature;
  }

  static constexpr std::size_t kBlock = 512;

  SamplerOptions options_;
  std::size_t vocab_;
  Pcg32 random_;
  std::span<Candidate> candidates_;  // [top_k] or [vocab], empty where no list is needed
  std::span<float> penalized_;       // [vocab], empty without penalties, as the next two
  std::span<std::uint32_t> counts_;  // [vocab], occurrences in the window
  std::span<TokenId> window_;        // [penalty_window], a ring
  std::size_t window_size_ = 0;
  std::size_t window_next_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_SAMPLER_HPP_

// --- inlay/kernels/kv_layout.hpp

// Where every element of a key/value cache is: constexpr arithmetic only, no SIMD.
//
// Per layer and key/value head, for `capacity` positions (a multiple of 64, kKvChunk):
//   F32, F16, BF16  keys   [capacity / 16][head_dim][16]      16 positions side by side: a query times 16 keys at once
//                   values [capacity][stride]
//   Q8              keys   int8 [capacity / 16][head_dim4 / 4][16][4], float scale [capacity]
//                   values int8 [capacity][stride],                    float scale [capacity]
// head_dim4 is head_dim rounded up to a multiple of 4, stride (KvValueStride) to a multiple of 16, or 8 for narrow heads;
// the padding is zero. Scales start at the same offset for keys and values (KvScaleOffset).
#ifndef INLAY_KERNELS_KV_LAYOUT_HPP_
#define INLAY_KERNELS_KV_LAYOUT_HPP_

#include <cstddef>

INLAY_BEGIN_NAMESPACE

// Positions that attention processes as one step, aligned to absolute positions; capacities are multiples of it.
inline constexpr std::size_t kKvChunk = 64;
// Positions whose partial results are merged in order: the unit of parallel work when one token attends to a long
// context. Prefill uses the same spans, so both give the same bits.
inline constexpr std::size_t kKvSpan = 256;

// The widest head that a cache can hold.
inline constexpr std::size_t kMaxKvHeadDim = 512;

constexpr std::size_t KvCapacity(std::size_t context) { return RoundUp(context, kKvChunk); }

// Elements from one position's value to the next. Sixteen lanes hold whole positions (two of a head of 8) or a part of one.
constexpr std::size_t KvValueStride(std::size_t head_dim) { return head_dim <= 8 ? 8 : RoundUp(head_dim, 16); }

// Q8: bytes before the scales.
constexpr std::size_t KvScaleOffset(std::size_t head_dim, std::size_t capacity) {
  return capacity * KvValueStride(head_dim);
}

// Bytes of the keys (or of the values: both take the same) of one layer and head; a multiple of 64.
constexpr std::size_t KvHeadBytes(KvType type, std::size_t head_dim, std::size_t capacity) {
  const std::size_t elements = capacity * KvValueStride(head_dim);
  switch (type) {
    case KvType::kF32: return elements * 4;
    case KvType::kF16:
    case KvType::kBF16: return elements * 2;
    case KvType::kQ8: return elements + capacity * 4;
  }
  return 0;
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_KV_LAYOUT_HPP_

// --- inlay/layers/kv_cache.hpp

// The key/value cache of one sequence: what attention remembers of earlier positions.
#ifndef INLAY_LAYERS_KV_CACHE_HPP_
#define INLAY_LAYERS_KV_CACHE_HPP_

#include <cstddef>
#include <span>

INLAY_BEGIN_NAMESPACE

// The keys and values of one layer, head after head (layout: kernels/kv_layout.hpp).
struct KvLayer {
  KvType type = KvType::kF32;
  std::size_t capacity = 0;    // positions
  std::size_t head_bytes = 0;  // of the keys of one head; the values take the same
  std::byte* data = nullptr;   // keys of all heads, then values of all heads
  std::size_t kv_heads = 0;

  std::byte* keys(std::size_t head) const { return data + head * head_bytes; }
  std::byte* values(std::size_t head) const { return data + (kv_heads + head) * head_bytes; }
};

// Cache of one sequence over all layers. Views memory that the caller owns. Positions 0 .. length() - 1 are filled;
// a forward pass appends. Going back is free: Truncate forgets the positions from `length` on.
class KvCache {
 public:
  // Takes room for `context` positions (rounded up to whole chunks) from an arena, or counts it.
  template <class Memory>
  static constexpr Result<KvCache> Create(Memory& memory, const ModelConfig& config, KvType type, std::size_t context) {
    KvCache cache;
    cache.layer_.type = type;
    cache.layer_.capacity = KvCapacity(context);
    cache.layer_.head_bytes = KvHeadBytes(type, config.head_dim, cache.layer_.capacity);
    cache.layer_.kv_heads = config.kv_heads;
    cache.context_ = context;
    cache.layers_ = config.layers;
    cache.head_dim_ = config.head_dim;
    cache.layer_bytes_ = 2 * std::size_t{config.kv_heads} * cache.layer_.head_bytes;
    INLAY_ASSIGN_OR_RETURN(const std::span<std::byte> bytes,
                           memory.template Allocate<std::byte>(config.layers * cache.layer_bytes_, "kv cache"));
    cache.layer_.data = bytes.data();
    return cache;
  }

  KvLayer layer(std::size_t index) const {
    KvLayer layer = layer_;
    layer.data += index * layer_bytes_;
    return layer;
  }

  KvType type() const { return layer_.type; }
  // Whether its keys and values have the shape of a model's.
  bool IsFor(const ModelConfig& config) const {
    return layers_ == config.layers && layer_.kv_heads == config.kv_heads && head_dim_ == config.head_dim;
  }
  std::size_t context() const { return context_; }  // positions that may be used
  std::size_t length() const { return length_; }    // positions that are filled
  std::size_t remaining() const { return context_ - length_; }

  // Forgets all positions from `length` on; does nothing when there are none.
  void Truncate(std::size_t length) { length_ = length < length_ ? length : length_; }

  // For the forward pass: `count` more positions have been stored.
  void Advance(std::size_t count) { length_ += count; }

 private:
  KvLayer layer_;
  std::size_t layer_bytes_ = 0;
  std::size_t layers_ = 0;
  std::size_t head_dim_ = 0;
  std::size_t context_ = 0;
  std::size_t length_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_KV_CACHE_HPP_

// --- inlay/layers/batch.hpp

// What one forward pass works on: the new tokens of one or more sequences, each with its own cache.
#ifndef INLAY_LAYERS_BATCH_HPP_
#define INLAY_LAYERS_BATCH_HPP_

#include <cstddef>
#include <cstdint>
#include <span>

INLAY_BEGIN_NAMESPACE

// Whose logits a pass computes.
enum class Outputs : std::uint8_t {
  kNone,  // only the cache is filled
  kLast,  // the last token of the sequence
  kAll,   // every token
};

// The next tokens of one sequence. They take the positions from cache->length() on. Does not own.
struct SequenceInput {
  KvCache* cache = nullptr;
  std::span<const TokenId> tokens;
  Outputs outputs = Outputs::kLast;
};

constexpr std::size_t OutputCount(const SequenceInput& sequence) {
  switch (sequence.outputs) {
    case Outputs::kNone: return 0;
    case Outputs::kLast: return sequence.tokens.empty() ? 0 : 1;
    case Outputs::kAll: return sequence.tokens.size();
  }
  return 0;
}

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_BATCH_HPP_

// --- inlay/kernels/packed_layout.hpp

// Where every byte of a packed weight matrix is: constexpr arithmetic only, no SIMD.
//
// Layout id "R16C4-1". A matrix of [rows, cols] is cut into tiles of 16 rows (kRowTile), the last one padded with zero
// rows; a tile holds all of its columns, tiles follow each other without gaps. A tile of a quantised type is a sequence of
// blocks of 16 rows x block_values columns; a block is its header (what the 16 file blocks have besides their levels),
// then the levels, 32 columns at a time. Levels are in words of 4 bytes per row, 16 rows side by side (64 bytes): one
// vector load is as many rows as the vector has 32-bit lanes, and each lane multiplies with the same 4 activations.
//   headers  Q8_0, Q4_0, Q5_0   f16 d[16]
//            Q4_1, Q5_1         f16 d[16], f16 m[16]
//            Q4_K, Q5_K         f16 d[16], f16 dmin[16], words[3][16]: the 12 bytes of 6-bit scales and mins of each row,
//                               with mins 1 and 2, and mins 5 and 6, exchanged (kernels want neighbours in even bytes)
//            Q6_K               f16 d[16], i8 scale[16 groups][16]
//   levels   Q8_0    word c (0..7): columns 4c .. 4c+3, signed
//            4 bits  word c (0..3): columns 4c .. 4c+3 in the low nibbles, 16 + 4c .. in the high ones
//            5 bits  the same, and word 4: bit c of byte j is the fifth bit of column 4c + j
//            6 bits  the same, and words 4, 5: bits 2c, 2c+1 of byte j are the upper bits of column 4c + j, 16 + 4c + j
// Float types interleave the 16 rows of a tile column by column: 16 values are 16 rows x 1 column.
// Packing changes no bit and no size: a packed matrix is as large as in its file, but for the padding rows.
#ifndef INLAY_KERNELS_PACKED_LAYOUT_HPP_
#define INLAY_KERNELS_PACKED_LAYOUT_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

INLAY_BEGIN_NAMESPACE

inline constexpr std::string_view kPackedLayoutId = "R16C4-1";

// Rows that kernels process together and work is cut at.
inline constexpr std::size_t kRowTile = 16;
// Bytes of one word of every row of a tile.
inline constexpr std::size_t kWordBytes = 4 * kRowTile;

// Bits of a level; 0 for float types.
constexpr int LevelBits(WeightType type) {
  switch (type) {
    case WeightType::kQ8_0: return 8;
    case WeightType::kQ4_0:
    case WeightType::kQ4_1:
    case WeightType::kQ4_K: return 4;
    case WeightType::kQ5_0:
    case WeightType::kQ5_1:
    case WeightType::kQ5_K: return 5;
    case WeightType::kQ6_K: return 6;
    default: return 0;
  }
}

// What is subtracted from a stored level: value = scale * (level - offset).
constexpr int LevelOffset(WeightType type) {
  switch (type) {
    case WeightType::kQ4_0: return 8;
    case WeightType::kQ5_0: return 16;
    case WeightType::kQ6_K: return 32;
    default: return 0;
  }
}

// Bytes of the levels of 16 rows x 32 columns.
constexpr std::size_t PackedLevelBytes(WeightType type) {
  return kWordBytes * static_cast<std::size_t>(LevelBits(type));
}

// Bytes of one packed block of 16 rows x block_values columns, and of its header (quantised types).
constexpr std::size_t PackedBlockBytes(WeightType type) { return kRowTile * Info(type).block_bytes; }
constexpr std::size_t PackedHeaderBytes(WeightType type) {
  return PackedBlockBytes(type) - Info(type).block_values / 32u * PackedLevelBytes(type);
}

// Bytes of one packed tile of kRowTile rows x cols; cols is a multiple of the type's block_values.
constexpr std::size_t PackedTileBytes(WeightType type, std::size_t cols) { return kRowTile * RowBytes(type, cols); }

// Bytes of a packed matrix. Matrices start at multiples of 64 in a buffer.
constexpr std::size_t PackedBytes(WeightType type, std::size_t rows, std::size_t cols) {
  return DivideUp(rows, kRowTile) * PackedTileBytes(type, cols);
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_PACKED_LAYOUT_HPP_

// --- inlay/kernels/pack.hpp

// Weights from the file's row-major blocks to the packed layout and back: exact in both directions. Plain C++, apart from
// the kernels because packing tools and embedding look-ups need no SIMD.
#ifndef INLAY_KERNELS_PACK_HPP_
#define INLAY_KERNELS_PACK_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>

INLAY_BEGIN_NAMESPACE

namespace detail {

// Reads and writes the levels of one file block. Get: the stored (unsigned) level of value i. Put: into a zeroed block.
template <class Block>
struct BlockLevels;

// Bit `shift` and up of a byte.
constexpr void PutBits(std::uint8_t& byte, int level, int shift) {
  byte = static_cast<std::uint8_t>(byte | level << shift);
}

template <>
struct BlockLevels<BlockQ8_0> {
  static int Get(const BlockQ8_0& block, std::size_t i) { return static_cast<std::uint8_t>(block.qs[i]); }
  static void Put(BlockQ8_0& block, std::size_t i, int level) { block.qs[i] = static_cast<std::int8_t>(level); }
};

template <class Block>
struct FourBitLevels {
  static int Get(const Block& block, std::size_t i) { return block.qs[i % 16] >> (i / 16 * 4) & 15; }
  static void Put(Block& block, std::size_t i, int level) {
    PutBits(block.qs[i % 16], level & 15, static_cast<int>(i / 16 * 4));
  }
};
template <>
struct BlockLevels<BlockQ4_0> : FourBitLevels<BlockQ4_0> {};
template <>
struct BlockLevels<BlockQ4_1> : FourBitLevels<BlockQ4_1> {};

template <class Block>
struct FiveBitLevels {
  static int Get(const Block& block, std::size_t i) {
    return FourBitLevels<Block>::Get(block, i) | (block.qh[i / 8] >> (i % 8) & 1) << 4;
  }
  static void Put(Block& block, std::size_t i, int level) {
    FourBitLevels<Block>::Put(block, i, level);
    PutBits(block.qh[i / 8], level >> 4, static_cast<int>(i % 8));
  }
};
template <>
struct BlockLevels<BlockQ5_0> : FiveBitLevels<BlockQ5_0> {};
template <>
struct BlockLevels<BlockQ5_1> : FiveBitLevels<BlockQ5_1> {};

// 64 values per 32 bytes: the first 32 in the low nibbles.
template <>
struct BlockLevels<BlockQ4_K> {
  static int Get(const BlockQ4_K& block, std::size_t i) {
    return block.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
  }
  static void Put(BlockQ4_K& block, std::size_t i, int level) {
    PutBits(block.qs[i / 64 * 32 + i % 32], level, static_cast<int>(i / 32 % 2 * 4));
  }
};
template <>
struct BlockLevels<BlockQ5_K> {
  static int Get(const BlockQ5_K& block, std::size_t i) {
    return (block.qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15) | (block.qh[i % 32] >> (i / 32) & 1) << 4;
  }
  static void Put(BlockQ5_K& block, std::size_t i, int level) {
    PutBits(block.qs[i / 64 * 32 + i % 32], level & 15, static_cast<int>(i / 32 % 2 * 4));
    PutBits(block.qh[i % 32], level >> 4, static_cast<int>(i / 32));
  }
};
template <>
struct BlockLevels<BlockQ6_K> {
  static int Get(const BlockQ6_K& block, std::size_t i) {
    return (block.ql[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15) |
           (block.qh[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) << 4;
  }
  static void Put(BlockQ6_K& block, std::size_t i, int level) {
    PutBits(block.ql[i / 128 * 64 + i % 64], level & 15, static_cast<int>(i / 64 % 2 * 4));
    PutBits(block.qh[i / 128 * 32 + i % 32], level >> 4, static_cast<int>(i / 32 % 4 * 2));
  }
};

// The 12 bytes of scales and mins with mins 1 and 2, and 5 and 6, exchanged; its own inverse. Min i (0..3) is in bits 0..5
// of byte 4 + i; min 4 + i has its low nibble in the high nibble of byte 8 + i, and its upper bits in bits 6, 7 of byte
// 4 + i.
inline void ExchangeMins(std::uint8_t* scales) {
  const std::uint8_t one = scales[5], low = scales[9];
  scales[5] = scales[6];
  scales[6] = one;
  scales[9] = static_cast<std::uint8_t>((scales[9] & 0x0F) | (scales[10] & 0xF0));
  scales[10] = static_cast<std::uint8_t>((scales[10] & 0x0F) | (low & 0xF0));
}

// Headers: every field of Block but its levels, for row `lane` (0..15) of a packed block.
template <class Block>
void PackHeader(const Block& block, std::byte* header, std::size_t lane) {
  std::memcpy(header + 2 * lane, &block.d, 2);
  if constexpr (requires { block.m; }) std::memcpy(header + 32 + 2 * lane, &block.m, 2);
  if constexpr (requires { block.dmin; }) {
    std::memcpy(header + 32 + 2 * lane, &block.dmin, 2);
    std::uint8_t scales[12];
    std::memcpy(scales, block.scales, 12);
    ExchangeMins(scales);
    for (std::size_t i = 0; i < 3; ++i) std::memcpy(header + 64 + i * kWordBytes + 4 * lane, scales + 4 * i, 4);
  } else if constexpr (requires { block.scales; }) {
    for (std::size_t i = 0; i < 16; ++i) std::memcpy(header + 32 + i * kRowTile + lane, block.scales + i, 1);
  }
}
template <class Block>
void UnpackHeader(const std::byte* header, std::size_t lane, Block& block) {
  std::memcpy(&block.d, header + 2 * lane, 2);
  if constexpr (requires { block.m; }) std::memcpy(&block.m, header + 32 + 2 * lane, 2);
  if constexpr (requires { block.dmin; }) {
    std::memcpy(&block.dmin, header + 32 + 2 * lane, 2);
    for (std::size_t i = 0; i < 3; ++i) std::memcpy(block.scales + 4 * i, header + 64 + i * kWordBytes + 4 * lane, 4);
    ExchangeMins(block.scales);
  } else if constexpr (requires { block.scales; }) {
    for (std::size_t i = 0; i < 16; ++i) std::memcpy(block.scales + i, header + 32 + i * kRowTile + lane, 1);
  }
}

// Value i (0 .. 31) of row `lane`: its bytes in the level words of 16 rows x 32 columns.
inline std::size_t PackedByte(std::size_t word, std::size_t lane, std::size_t i) {
  return word * kWordBytes + 4 * lane + i % 4;
}
template <int kBits>
void PutPackedLevel(std::uint8_t* levels, std::size_t lane, std::size_t i, int level) {
  const std::size_t group = i / 4;  // of 4 columns
  if constexpr (kBits == 8) {
    levels[PackedByte(group, lane, i)] = static_cast<std::uint8_t>(level);
  } else {
    PutBits(levels[PackedByte(group % 4, lane, i)], level & 15, static_cast<int>(group / 4 * 4));
    if constexpr (kBits == 5) PutBits(levels[PackedByte(4, lane, i)], level >> 4, static_cast<int>(group));
    if constexpr (kBits == 6) {
      PutBits(levels[PackedByte(4 + group / 4, lane, i)], level >> 4, static_cast<int>(group % 4 * 2));
    }
  }
}
template <int kBits>
int GetPackedLevel(const std::uint8_t* levels, std::size_t lane, std::size_t i) {
  const std::size_t group = i / 4;
  if constexpr (kBits == 8) return levels[PackedByte(group, lane, i)];
  int level = levels[PackedByte(group % 4, lane, i)] >> (group / 4 * 4) & 15;
  if constexpr (kBits == 5) level |= (levels[PackedByte(4, lane, i)] >> group & 1) << 4;
  if constexpr (kBits == 6) level |= (levels[PackedByte(4 + group / 4, lane, i)] >> (group % 4 * 2) & 3) << 4;
  return level;
}

template <WeightType kType>
void PackTileAs(const std::byte* rows, std::size_t row_bytes, std::size_t valid_rows, std::size_t cols, std::byte* tile) {
  if constexpr (Info(kType).block_values == 1) {
    constexpr std::size_t kSize = Info(kType).block_bytes;
    for (std::size_t lane = 0; lane < valid_rows; ++lane) {
      for (std::size_t k = 0; k < cols; ++k) {
        std::memcpy(tile + (k * kRowTile + lane) * kSize, rows + lane * row_bytes + k * kSize, kSize);
      }
    }
  } else {
    using Block = typename Codec<kType>::Block;
    constexpr std::size_t kValues = Info(kType).block_values;
    for (std::size_t b = 0; b < cols / kValues; ++b) {
      std::byte* packed = tile + b * PackedBlockBytes(kType);
      auto* levels = reinterpret_cast<std::uint8_t*>(packed + PackedHeaderBytes(kType));
      for (std::size_t lane = 0; lane < valid_rows; ++lane) {
        Block block;
        std::memcpy(&block, rows + lane * row_bytes + b * sizeof(Block), sizeof(Block));
        PackHeader(block, packed, lane);
        for (std::size_t i = 0; i < kValues; ++i) {
          PutPackedLevel<LevelBits(kType)>(levels + i / 32 * PackedLevelBytes(kType), lane, i % 32,
                                           BlockLevels<Block>::Get(block, i));
        }
      }
    }
  }
}

template <WeightType kType>
void UnpackRowAs(const std::byte* packed, std::size_t cols, std::size_t row, float* out) {
  const std::byte* tile = packed + row / kRowTile * PackedTileBytes(kType, cols);
  const std::size_t lane = row % kRowTile;
  if constexpr (Info(kType).block_values == 1) {
    typename Codec<kType>::Block value;
    for (std::size_t k = 0; k < cols; ++k) {
      std::memcpy(&value, tile + (k * kRowTile + lane) * sizeof(value), sizeof(value));
      Codec<kType>::Decode(value, out + k);
    }
  } else {
    using Block = typename Codec<kType>::Block;
    constexpr std::size_t kValues = Info(kType).block_values;
    for (std::size_t b = 0; b < cols / kValues; ++b) {
      const std::byte* source = tile + b * PackedBlockBytes(kType);
      const auto* levels = reinterpret_cast<const std::uint8_t*>(source + PackedHeaderBytes(kType));
      Block block{};
      UnpackHeader(source, lane, block);
      for (std::size_t i = 0; i < kValues; ++i) {
        BlockLevels<Block>::Put(
            block, i, GetPackedLevel<LevelBits(kType)>(levels + i / 32 * PackedLevelBytes(kType), lane, i % 32));
      }
      Codec<kType>::Decode(block, out + b * kValues);
    }
  }
}

}  // namespace detail

// Packs one tile: `valid_rows` (1 .. 16) rows of `cols` values, `row_bytes` apart and of any alignment, into the
// PackedTileBytes(type, cols) bytes at `tile`; rows beyond are zeros. `cols` is a multiple of the type's block_values and
// the type one of AllFormats. Does not overlap. Tiles are independent of each other: pack them in parallel.
inline void PackTile(WeightType type, const std::byte* rows, std::size_t row_bytes, std::size_t valid_rows,
                     std::size_t cols, std::byte* tile) {
  std::memset(tile, 0, PackedTileBytes(type, cols));
  detail::ForType(type, AllFormats{}, [&]<WeightType kType>() {
    detail::PackTileAs<kType>(rows, row_bytes, valid_rows, cols, tile);
  });
}

// Decodes row `row` of a packed matrix: `cols` floats, to the bit those of DecodeRow on the row in the file. For embedding
// look-ups. Cost: a few ns per value, scalar.
// Only the types of FormatList are compiled in.
template <class FormatList = AllFormats>
void UnpackRow(WeightType type, const std::byte* packed, std::size_t cols, std::size_t row, float* out) {
  detail::ForType(type, FormatList{}, [&]<WeightType kType>() { detail::UnpackRowAs<kType>(packed, cols, row, out); });
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_PACK_HPP_

// --- inlay/kernels/rope.hpp

// Rotary position embedding: frequencies and the table of turns for a position. Plain C++, double precision.
//
// Apart from the rotation itself (elementwise-inl.hpp) because this runs once per position, needs no SIMD and decides the
// precision: an angle of 10^5 radians in float32 would be wrong by 4e-3.
// Source: Su et al. 2021, "RoFormer", https://arxiv.org/abs/2104.09864.
#ifndef INLAY_KERNELS_ROPE_HPP_
#define INLAY_KERNELS_ROPE_HPP_

#include <cmath>
#include <cstddef>

INLAY_BEGIN_NAMESPACE

// inverse_frequencies[i] = base^(-2 i / rope_dim) / scale / factors[i] for i < rope_dim / 2: radians per position. `scale`
// is 1 or the factor of linear scaling; `factors` (rope_dim / 2 values, or nullptr for ones) are those of
// rope_freqs.weight.
inline void RopeFrequencies(double base, double scale, const float* factors, std::size_t rope_dim,
                            float* inverse_frequencies) {
  for (std::size_t i = 0; i < rope_dim / 2; ++i) {
    const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(rope_dim);
    const double factor = factors == nullptr ? 1.0 : static_cast<double>(factors[i]);
    inverse_frequencies[i] = static_cast<float>(std::pow(base, exponent) / (scale * factor));
  }
}

// The turns of one position as complex numbers: cos_sin[2 i] = cos(position * inverse_frequencies[i]),
// cos_sin[2 i + 1] = sin(...), for i < half (= rope_dim / 2). Costs two library calls per pair; made once per position and
// used by every head of every layer.
inline void RopeTable(const float* inverse_frequencies, std::size_t half, std::size_t position, float* cos_sin) {
  for (std::size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * static_cast<double>(inverse_frequencies[i]);
    cos_sin[2 * i] = static_cast<float>(std::cos(angle));
    cos_sin[2 * i + 1] = static_cast<float>(std::sin(angle));
  }
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ROPE_HPP_

// --- inlay/kernels/activations.hpp

// The activations of one matrix product, in the representations that the weight types multiply with. Layout only.
#ifndef INLAY_KERNELS_ACTIVATIONS_HPP_
#define INLAY_KERNELS_ACTIVATIONS_HPP_

#include <cstddef>
#include <cstdint>

INLAY_BEGIN_NAMESPACE

// A set of representations; bits may be combined.
using ActivationKinds = std::uint8_t;
inline constexpr ActivationKinds kActivationFloat = 1;     // float32: F32, F16, BF16 weights
inline constexpr ActivationKinds kActivationBlock32 = 2;   // int8, one float32 scale per 32: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1
inline constexpr ActivationKinds kActivationBlock256 = 4;  // int8, one float32 scale per 256: K-quants

constexpr ActivationKinds ActivationKindOf(WeightType type) {
  switch (Info(type).block_values) {
    case 1: return kActivationFloat;
    case 32: return kActivationBlock32;
    default: return kActivationBlock256;
  }
}

// int8 values, rounded to nearest even, in blocks along a row. Rows of tokens are `value_stride` apart.
//   values [tokens, value_stride]   scales [tokens, scale_stride]: value = scale * int8
//   sums   [tokens, sum_stride]: sums of the int8 values, which pay for the unsigned offset of the weights.
//     Block32: one per 32 values. Block256: per block 16 sums of 16 values, then 8 sums of 32 values (24 int16).
struct QuantizedRows {
  std::int8_t* values = nullptr;
  float* scales = nullptr;
  std::int16_t* sums = nullptr;
  std::size_t value_stride = 0;
  std::size_t scale_stride = 0;
  std::size_t sum_stride = 0;
};

// One [tokens, cols] matrix of activations. `values` is always there; the quantised forms as asked for.
struct Activations {
  float* values = nullptr;
  std::size_t stride = 0;
  QuantizedRows block32;
  QuantizedRows block256;
};

namespace detail {
constexpr std::size_t SumsPerRow(ActivationKinds kind, std::size_t cols) {
  return kind == kActivationBlock32 ? DivideUp(cols, 32) : 24 * DivideUp(cols, 256);
}
}  // namespace detail

// Makes room for [tokens, cols] in an arena (or counts the bytes with a MemoryCounter).
template <class Memory>
constexpr Result<Activations> MakeActivations(Memory& arena, ActivationKinds kinds, std::size_t tokens, std::size_t cols) {
  Activations x;
  x.stride = RoundUp(cols, 16);
  INLAY_ASSIGN_OR_RETURN(const auto values, arena.template Allocate<float>(tokens * x.stride, "activations"));
  x.values = values.data();
  for (const ActivationKinds kind : {kActivationBlock32, kActivationBlock256}) {
    if ((kinds & kind) == 0) continue;
    QuantizedRows& rows = kind == kActivationBlock32 ? x.block32 : x.block256;
    // An odd number of cache lines: rows a power of two apart would share a few sets of the cache, and loads would wait for
    // unrelated stores that agree in the low address bits.
    rows.value_stride = RoundUp(cols, 64) | 64;
    rows.scale_stride = DivideUp(cols, kind == kActivationBlock32 ? 32 : 256);
    rows.sum_stride = detail::SumsPerRow(kind, cols);
    INLAY_ASSIGN_OR_RETURN(const auto ints, arena.template Allocate<std::int8_t>(tokens * rows.value_stride, "activations"));
    INLAY_ASSIGN_OR_RETURN(const auto scales, arena.template Allocate<float>(tokens * rows.scale_stride, "activations"));
    INLAY_ASSIGN_OR_RETURN(const auto sums, arena.template Allocate<std::int16_t>(tokens * rows.sum_stride, "activations"));
    rows.values = ints.data();
    rows.scales = scales.data();
    rows.sums = sums.data();
  }
  return x;
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ACTIVATIONS_HPP_

// --- inlay/kernels/attention_plan.hpp

// What attention needs to know and how much memory it takes: constexpr arithmetic only, no SIMD.
#ifndef INLAY_KERNELS_ATTENTION_PLAN_HPP_
#define INLAY_KERNELS_ATTENTION_PLAN_HPP_

#include <algorithm>
#include <cstddef>

INLAY_BEGIN_NAMESPACE

// What one key/value head of attention computes. Later variants (soft-capped logits, attention sinks) become fields here.
struct AttentionShape {
  std::size_t group = 1;     // query heads that share the key/value head
  std::size_t capacity = 0;  // positions of the cache, a multiple of kKvChunk
  std::size_t window = 0;    // a query at position p sees keys p - window + 1 .. p; 0: all from 0
  float scale = 1.0f;        // factor on every dot product, usually 1 / sqrt(head_dim)

  // First position that a query at `position` sees.
  constexpr std::size_t First(std::size_t position) const {
    return window == 0 || position < window ? 0 : position + 1 - window;
  }
};

// The spans that a query at `position` reads: [begin, end) in units of kKvSpan.
struct SpanRange {
  std::size_t begin = 0;
  std::size_t end = 0;
  constexpr std::size_t size() const { return end - begin; }
};
constexpr SpanRange AttentionSpans(const AttentionShape& shape, std::size_t position) {
  return {shape.First(position) / kKvSpan, position / kKvSpan + 1};
}

// The result of one query over one span: the largest score, the sum of e^(score - largest), fourteen unused floats, and
// the values weighted by e^(score - largest), padded to a multiple of 16.
constexpr std::size_t PartialStride(std::size_t head_dim) { return 16 + RoundUp(head_dim, 16); }

// Floats that hold the partial results of one key/value head: [spans][group][PartialStride].
constexpr std::size_t AttentionPartialFloats(std::size_t head_dim, std::size_t group, std::size_t spans) {
  return spans * group * PartialStride(head_dim);
}

// Floats from one query's scores to the next; not a power of two, which would map all rows to the same cache sets.
inline constexpr std::size_t kAttentionScoreStride = kKvSpan + 16;

// Queries (token and head) that go through a span together: enough to pay for reading keys and values from the second
// level cache, few enough that scores and results stay in the first one. A multiple of the register tile's 6.
inline constexpr std::size_t kMaxAttentionRows = 18;
constexpr std::size_t AttentionRows(std::size_t head_dim) {
  return head_dim <= 64 ? kMaxAttentionRows : head_dim <= 128 ? 12 : 6;
}

// Floats of working memory of one call of AttendTokens or AttendSpan, at a multiple of 64 bytes; calls that run at the
// same time need one each. At most 44 KiB.
constexpr std::size_t AttentionScratchFloats(std::size_t head_dim) {
  return AttentionRows(head_dim) *
         (2 * PartialStride(head_dim) + RoundUp(head_dim, 16) + kAttentionScoreStride + 16);
}

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_ATTENTION_PLAN_HPP_

// --- inlay/layers/scratch.hpp

// The working memory of one forward pass: every intermediate result has its place before the pass starts.
#ifndef INLAY_LAYERS_SCRATCH_HPP_
#define INLAY_LAYERS_SCRATCH_HPP_

#include <cstddef>
#include <cstdint>
#include <span>

INLAY_BEGIN_NAMESPACE

// What decides the size of the working memory.
struct ScratchShape {
  std::size_t tokens = 1;   // most tokens of one pass
  std::size_t outputs = 1;  // most positions of one pass whose logits are computed
  std::size_t context = 1;  // most positions of a cache that a pass attends to
  std::size_t threads = 1;  // most threads that attend at once
  ActivationKinds kinds = kActivationFloat;  // what the model's matrices multiply with
};

// Mixture of experts only.
struct ExpertScratch {
  float* scores = nullptr;             // [tokens, experts]: the router's output
  std::uint32_t* chosen = nullptr;     // [tokens, experts_per_token], ascending
  float* weights = nullptr;            // [tokens, experts_per_token]
  std::uint32_t* members = nullptr;    // [tokens]: the tokens of the expert at work
  float* member_weights = nullptr;     // [tokens]
  Activations input;                   // [tokens, dim]
  float* output = nullptr;             // [tokens, dim]
};

struct Scratch {
  ScratchShape shape;
  float* residual = nullptr;        // [tokens, dim]
  Activations normalized;           // [tokens, dim]
  float* query = nullptr;           // [tokens, q_dim]
  float* key = nullptr;             // [tokens, kv_dim]
  float* value = nullptr;           // [tokens, kv_dim]
  Activations mixed;                // [tokens, q_dim]: attention's output
  Activations hidden;               // [tokens, ffn_dim]: silu(gate) * up
  float* up = nullptr;              // [tokens, ffn_dim]
  float* rotations = nullptr;       // [tokens, rope_dim]: cos, sin per pair
  float* frequencies = nullptr;     // [rope_dim / 2]: radians per position, filled once
  std::size_t head_dim = 0;         // decides where a thread's part of `attention` starts
  float* attention = nullptr;       // [threads, AttentionScratchFloats(head_dim)]
  float* partials = nullptr;        // [kv_heads, spans, group, PartialStride(head_dim)]: one token, long context
  float* logits = nullptr;          // [outputs, vocab]
  ExpertScratch experts;

  // Takes everything from an arena, or counts it.
  template <class Memory>
  static constexpr Result<Scratch> Create(Memory& memory, const ModelConfig& config, const ScratchShape& shape);
};

template <class Memory>
constexpr Result<Scratch> Scratch::Create(Memory& memory, const ModelConfig& config, const ScratchShape& shape) {
  Scratch scratch;
  scratch.shape = shape;
  const auto floats = [&memory](float*& to, std::size_t count) -> Result<void> {
    INLAY_ASSIGN_OR_RETURN(const std::span<float> values, memory.template Allocate<float>(count, "scratch"));
    to = values.data();
    return {};
  };
  const std::size_t tokens = shape.tokens;
  INLAY_CHECK_OK(floats(scratch.residual, tokens * config.dim));
  INLAY_ASSIGN_OR_RETURN(scratch.normalized, MakeActivations(memory, shape.kinds, tokens, config.dim));
  INLAY_CHECK_OK(floats(scratch.query, tokens * config.q_dim()));
  INLAY_CHECK_OK(floats(scratch.key, tokens * config.kv_dim()));
  INLAY_CHECK_OK(floats(scratch.value, tokens * config.kv_dim()));
  INLAY_ASSIGN_OR_RETURN(scratch.mixed, MakeActivations(memory, shape.kinds, tokens, config.q_dim()));
  INLAY_ASSIGN_OR_RETURN(scratch.hidden, MakeActivations(memory, shape.kinds, tokens, config.ffn_dim));
  INLAY_CHECK_OK(floats(scratch.up, tokens * config.ffn_dim));
  INLAY_CHECK_OK(floats(scratch.rotations, tokens * config.rope_dim));
  INLAY_CHECK_OK(floats(scratch.frequencies, config.rope_dim / 2));
  scratch.head_dim = config.head_dim;
  INLAY_CHECK_OK(floats(scratch.attention, shape.threads * AttentionScratchFloats(config.head_dim)));
  const std::size_t spans = DivideUp(shape.context, kKvSpan);
  if (spans > 1) {
    INLAY_CHECK_OK(floats(scratch.partials,
                          config.kv_heads * AttentionPartialFloats(config.head_dim, config.group(), spans)));
  }
  INLAY_CHECK_OK(floats(scratch.logits, shape.outputs * config.vocab));
  if (config.experts != 0) {
    ExpertScratch& experts = scratch.experts;
    const std::size_t choices = tokens * config.experts_per_token;
    INLAY_CHECK_OK(floats(experts.scores, tokens * config.experts));
    INLAY_ASSIGN_OR_RETURN(const auto chosen, memory.template Allocate<std::uint32_t>(choices, "scratch"));
    INLAY_CHECK_OK(floats(experts.weights, choices));
    INLAY_ASSIGN_OR_RETURN(const auto members, memory.template Allocate<std::uint32_t>(tokens, "scratch"));
    INLAY_CHECK_OK(floats(experts.member_weights, tokens));
    INLAY_ASSIGN_OR_RETURN(experts.input, MakeActivations(memory, shape.kinds, tokens, config.dim));
    INLAY_CHECK_OK(floats(experts.output, tokens * config.dim));
    experts.chosen = chosen.data();
    experts.members = members.data();
  }
  return scratch;
}

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_SCRATCH_HPP_

// --- inlay/weights/tensor_roles.hpp

// What each tensor of a model is for: the one table from which names, shapes, the packed layout, binding and synthetic
// files follow. A new family adds roles here and nothing elsewhere.
// Names: the GGUF specification and ggml's conventions for the llama family.
#ifndef INLAY_WEIGHTS_TENSOR_ROLES_HPP_
#define INLAY_WEIGHTS_TENSOR_ROLES_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

INLAY_BEGIN_NAMESPACE

enum class TensorRole : std::uint8_t {
  // Once per model.
  kTokenEmbedding,
  kOutputNorm,
  kOutput,
  kRopeFactors,
  // Once per layer.
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kAttentionOutput,
  kFfnNorm,
  kRouter,
  kGate,
  kUp,
  kDown,
};

inline constexpr std::size_t kModelRoles = 4;
inline constexpr std::size_t kLayerRoles = 10;

struct TensorRoleInfo {
  TensorRole role;
  std::string_view name;          // in a file; after "blk.N." for tensors of a layer
  std::string_view expert_name;   // the name where the model has experts, if another
};

inline constexpr std::array<TensorRoleInfo, kModelRoles + kLayerRoles> kTensorRoles = {{
    {TensorRole::kTokenEmbedding, "token_embd.weight", {}},
    {TensorRole::kOutputNorm, "output_norm.weight", {}},
    {TensorRole::kOutput, "output.weight", {}},
    {TensorRole::kRopeFactors, "rope_freqs.weight", {}},
    {TensorRole::kAttentionNorm, "attn_norm.weight", {}},
    {TensorRole::kQuery, "attn_q.weight", {}},
    {TensorRole::kKey, "attn_k.weight", {}},
    {TensorRole::kValue, "attn_v.weight", {}},
    {TensorRole::kAttentionOutput, "attn_output.weight", {}},
    {TensorRole::kFfnNorm, "ffn_norm.weight", {}},
    {TensorRole::kRouter, "ffn_gate_inp.weight", {}},
    {TensorRole::kGate, "ffn_gate.weight", "ffn_gate_exps.weight"},
    {TensorRole::kUp, "ffn_up.weight", "ffn_up_exps.weight"},
    {TensorRole::kDown, "ffn_down.weight", "ffn_down_exps.weight"},
}};

constexpr bool IsLayerRole(TensorRole role) { return static_cast<std::size_t>(role) >= kModelRoles; }

// Vectors are float32 whatever the file holds; matrices are packed in their own type.
constexpr bool IsVector(TensorRole role) {
  return role == TensorRole::kOutputNorm || role == TensorRole::kRopeFactors || role == TensorRole::kAttentionNorm ||
         role == TensorRole::kFfnNorm;
}

// A tensor is `count` matrices of [rows, cols]; count > 1 for experts. Vectors have rows = 1.
struct TensorShape {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t count = 1;
  constexpr bool operator==(const TensorShape&) const = default;
};

constexpr TensorShape ShapeOf(const ModelConfig& c, TensorRole role) {
  const std::size_t experts = c.experts == 0 ? 1 : c.experts;
  switch (role) {
    case TensorRole::kTokenEmbedding: return {c.vocab, c.dim};
    case TensorRole::kOutputNorm: return {1, c.dim};
    case TensorRole::kOutput: return {c.vocab, c.dim};
    case TensorRole::kRopeFactors: return {1, c.rope_dim / 2};
    case TensorRole::kAttentionNorm: return {1, c.dim};
    case TensorRole::kQuery: return {c.q_dim(), c.dim};
    case TensorRole::kKey: return {c.kv_dim(), c.dim};
    case TensorRole::kValue: return {c.kv_dim(), c.dim};
    case TensorRole::kAttentionOutput: return {c.dim, c.q_dim()};
    case TensorRole::kFfnNorm: return {1, c.dim};
    case TensorRole::kRouter: return {c.experts, c.dim};
    case TensorRole::kGate: return {c.ffn_dim, c.dim, experts};
    case TensorRole::kUp: return {c.ffn_dim, c.dim, experts};
    case TensorRole::kDown: return {c.dim, c.ffn_dim, experts};
  }
  return {};
}

// Whether a model of this configuration has the tensor.
constexpr bool HasRole(const ModelConfig& c, TensorRole role) {
  switch (role) {
    case TensorRole::kOutput: return !c.tied_embeddings;
    case TensorRole::kRopeFactors: return c.rope_scaling == RopeScaling::kFactors;
    case TensorRole::kRouter: return c.experts != 0;
    default: return true;
  }
}

// One tensor of a model: its role and, for tensors of a layer, the layer.
struct TensorId {
  TensorRole role;
  std::uint32_t layer = 0;
  constexpr bool operator==(const TensorId&) const = default;
};

// Tensors are numbered densely: those of the model, then layer by layer. Roles that a configuration lacks keep their
// number, so that it depends on nothing but role and layer.
constexpr std::size_t TensorCount(const ModelConfig& c) { return kModelRoles + std::size_t{c.layers} * kLayerRoles; }
constexpr std::size_t TensorIndex(TensorId id) {
  const std::size_t role = static_cast<std::size_t>(id.role);
  return IsLayerRole(id.role) ? std::size_t{id.layer} * kLayerRoles + role : role;
}
constexpr TensorId TensorAt(std::size_t index) {
  if (index < kModelRoles) return {static_cast<TensorRole>(index)};
  const std::size_t rest = index - kModelRoles;
  return {static_cast<TensorRole>(kModelRoles + rest % kLayerRoles), static_cast<std::uint32_t>(rest / kLayerRoles)};
}

// The tensor's name in a GGUF file.
constexpr TextBuffer<96> TensorName(const ModelConfig& c, TensorId id) {
  const TensorRoleInfo& info = kTensorRoles[static_cast<std::size_t>(id.role)];
  const std::string_view name = c.experts != 0 && !info.expert_name.empty() ? info.expert_name : info.name;
  TextBuffer<96> text;
  if (IsLayerRole(id.role)) text.Append("blk.").Append(id.layer).Append('.');
  text.Append(name);
  return text;
}

// The tensor that a name in a file means for this configuration; nothing when it is none of the model's.
constexpr std::optional<TensorId> ParseTensorName(const ModelConfig& c, std::string_view name) {
  std::uint32_t layer = 0;
  const bool in_layer = name.starts_with("blk.");
  if (in_layer) {
    name.remove_prefix(4);
    std::size_t digits = 0;
    while (digits < name.size() && digits < 5 && name[digits] >= '0' && name[digits] <= '9') {
      layer = layer * 10 + static_cast<std::uint32_t>(name[digits++] - '0');
    }
    const bool leading_zero = digits > 1 && name[0] == '0';
    if (digits == 0 || leading_zero || digits >= name.size() || name[digits] != '.' || layer >= c.layers) return {};
    name.remove_prefix(digits + 1);
  }
  for (const TensorRoleInfo& info : kTensorRoles) {
    const std::string_view expected = c.experts != 0 && !info.expert_name.empty() ? info.expert_name : info.name;
    if (expected == name && IsLayerRole(info.role) == in_layer && HasRole(c, info.role)) return TensorId{info.role, layer};
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_TENSOR_ROLES_HPP_

// --- inlay/weights/packed_weights.hpp

// The packed weights buffer: where each tensor is, and the pointers that the layers read it through.
//
// The buffer holds the tensors in the order of their numbers (tensor_roles.hpp), each at a multiple of 64 bytes:
// matrices in the packed layout of kernels/packed_layout.hpp, vectors as float32. Given the configuration and the type
// of each tensor, every offset follows; nothing else is stored.
#ifndef INLAY_WEIGHTS_PACKED_WEIGHTS_HPP_
#define INLAY_WEIGHTS_PACKED_WEIGHTS_HPP_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <type_traits>

INLAY_BEGIN_NAMESPACE

// Bytes of one packed tensor, a multiple of 64.
constexpr std::size_t PackedTensorBytes(const ModelConfig& config, TensorRole role, WeightType type) {
  const TensorShape shape = ShapeOf(config, role);
  if (IsVector(role)) return ArenaBytes<float>(shape.cols);
  return shape.count * RoundUp(PackedBytes(type, shape.rows, shape.cols), kAlignment);
}

// Bytes of the whole buffer. `type_of(TensorId)` gives each tensor's type. The largest size_t, which no buffer has, when
// they cannot be counted: the rules of a configuration bound a tensor by 2^56 bytes, but not the sum of all.
template <class TypeOf>
  requires std::is_invocable_r_v<WeightType, TypeOf&, TensorId>
constexpr std::size_t PackedWeightsBytes(const ModelConfig& config, TypeOf&& type_of) {
  constexpr std::size_t kUncountable = std::numeric_limits<std::size_t>::max();
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < TensorCount(config); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role)) continue;
    const std::size_t more = PackedTensorBytes(config, id.role, type_of(id));
    if (more > kUncountable - bytes) return kUncountable;
    bytes += more;
  }
  return bytes;
}

// Which type each tensor has: one byte per tensor number. Roles that the model lacks, and vectors, are kF32.
using TensorTypes = std::span<const WeightType>;

inline std::size_t PackedWeightsBytes(const ModelConfig& config, TensorTypes types) {
  return PackedWeightsBytes(config, [types](TensorId id) { return types[TensorIndex(id)]; });
}

// One packed matrix, or `count` of them (experts), `stride` bytes apart. Its dimensions come from the spec. Does not own.
struct PackedMatrix {
  const std::byte* data = nullptr;
  std::size_t stride = 0;
  WeightType type = WeightType::kF32;

  const std::byte* expert(std::size_t index) const { return data + index * stride; }
};

// The tensors of one layer, as pointers into the packed buffer.
struct LayerWeights {
  const float* attention_norm = nullptr;  // [dim]
  PackedMatrix query;                     // [q_dim, dim]
  PackedMatrix key;                       // [kv_dim, dim]
  PackedMatrix value;                     // [kv_dim, dim]
  PackedMatrix attention_output;          // [dim, q_dim]
  const float* ffn_norm = nullptr;        // [dim]
  PackedMatrix router;                    // [experts, dim], only with experts
  PackedMatrix gate;                      // [ffn_dim, dim]
  PackedMatrix up;                        // [ffn_dim, dim]
  PackedMatrix down;                      // [dim, ffn_dim]
};

// All weights of a model. The packed buffer and the table of layers outlive it.
struct ModelWeights {
  PackedMatrix token_embedding;         // [vocab, dim]
  const float* output_norm = nullptr;   // [dim]
  PackedMatrix output;                  // [vocab, dim]; the embedding table when tied
  const float* rope_factors = nullptr;  // [rope_dim / 2], or nullptr
  std::span<const LayerWeights> layers;
};

// Points `weights` into a packed buffer. `layers` has config.layers entries. kMismatch when the buffer's size is not what
// configuration and types need, kUnsupported when a type cannot be multiplied with. Cost: the number of tensors.
inline Result<ModelWeights> BindPackedWeights(const ModelConfig& config, TensorTypes types,
                                              std::span<const std::byte> packed, std::span<LayerWeights> layers) {
  if (types.size() != TensorCount(config)) {
    return Fail(ErrorCode::kMismatch, "tensor types", types.size(), " entries, the model has ", TensorCount(config));
  }
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role) || IsVector(id.role)) continue;
    const WeightTypeInfo& info = Info(types[i]);
    const std::size_t cols = ShapeOf(config, id.role).cols;
    if (!info.multiplies || cols % info.block_values != 0) {
      return Fail(ErrorCode::kUnsupported, TensorName(config, id).view(), "type ", info.name, " cannot hold rows of ", cols);
    }
  }
  const std::size_t needed = PackedWeightsBytes(config, types);
  if (packed.size() != needed) {
    return Fail(ErrorCode::kMismatch, "packed weights", packed.size(), " bytes, the configuration needs ", needed);
  }
  if (reinterpret_cast<std::uintptr_t>(packed.data()) % kAlignment != 0) {
    return Fail(ErrorCode::kInvalidArgument, "packed weights", "must start at a multiple of ", kAlignment, " bytes");
  }

  ModelWeights weights;
  const std::byte* at = packed.data();
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role)) continue;
    const std::size_t bytes = PackedTensorBytes(config, id.role, types[i]);
    const PackedMatrix matrix{at, bytes / ShapeOf(config, id.role).count, types[i]};
    const float* vector = reinterpret_cast<const float*>(at);
    at += bytes;
    LayerWeights* layer = IsLayerRole(id.role) ? &layers[id.layer] : nullptr;
    switch (id.role) {
      case TensorRole::kTokenEmbedding: weights.token_embedding = matrix; break;
      case TensorRole::kOutputNorm: weights.output_norm = vector; break;
      case TensorRole::kOutput: weights.output = matrix; break;
      case TensorRole::kRopeFactors: weights.rope_factors = vector; break;
      case TensorRole::kAttentionNorm: layer->attention_norm = vector; break;
      case TensorRole::kQuery: layer->query = matrix; break;
      case TensorRole::kKey: layer->key = matrix; break;
      case TensorRole::kValue: layer->value = matrix; break;
      case TensorRole::kAttentionOutput: layer->attention_output = matrix; break;
      case TensorRole::kFfnNorm: layer->ffn_norm = vector; break;
      case TensorRole::kRouter: layer->router = matrix; break;
      case TensorRole::kGate: layer->gate = matrix; break;
      case TensorRole::kUp: layer->up = matrix; break;
      case TensorRole::kDown: layer->down = matrix; break;
    }
  }
  if (config.tied_embeddings) weights.output = weights.token_embedding;
  weights.layers = layers;
  return weights;
}

// Checks every tensor's type against the closed list a model type is compiled for, naming tensor, type and list.
template <class FormatList>
Result<void> CheckFormats(const ModelConfig& config, TensorTypes types) {
  for (std::size_t i = 0; i < types.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role) || IsVector(id.role) || FormatList::Contains(types[i])) continue;
    TextBuffer<96> list;
    for (const WeightType type : FormatList::kList) list.Append(list.empty() ? "" : ", ").Append(Name(type));
    return Fail(ErrorCode::kUnsupported, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(), "type ",
                Name(types[i]), " is not in this model's formats (", list.view(), "); add ", Name(types[i]));
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_PACKED_WEIGHTS_HPP_

// --- inlay/layers/partition.hpp

// How a layer's work is cut for threads: ranges of matrix rows and of tokens. Where a range is cut never changes a
// result, only who computes it.
#ifndef INLAY_LAYERS_PARTITION_HPP_
#define INLAY_LAYERS_PARTITION_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <numeric>

INLAY_BEGIN_NAMESPACE

// Below this many multiply-accumulates a product stays on the calling thread: handing it out costs about as much
// (~1 us for a spinning pool, several when a worker slept).
inline constexpr std::size_t kSerialMacs = std::size_t{1} << 16;
// Tasks per thread. Threads claim tasks as they finish, so a thread that the system delays leaves its share to others.
inline constexpr std::size_t kTasksPerThread = 8;

// Rows at which work on matrices whose rows are heads may be cut: whole heads and whole row tiles.
constexpr std::size_t HeadUnit(std::size_t head_dim) { return std::lcm(head_dim, kRowTile); }

// Cuts the rows of `kParts` matrices, laid end to end, into tasks at multiples of `unit` rows within each matrix, and
// calls f(part, row_begin, row_end) until every row was covered once. `macs` is the work of all rows together.
template <std::size_t kParts, class F>
void ForRowRanges(ExecutorRef executor, const std::array<std::size_t, kParts>& rows, std::size_t unit, std::size_t macs,
                  F&& f) {
  std::size_t units = 0;
  for (const std::size_t r : rows) units += DivideUp(r, unit);
  const bool serial = executor.concurrency() <= 1 || macs < kSerialMacs;
  const std::size_t tasks = serial ? 1 : std::min(units, executor.concurrency() * kTasksPerThread);
  executor.Run(tasks, [&](std::size_t task) {
    std::size_t begin = task * units / tasks;
    std::size_t end = (task + 1) * units / tasks;
    for (std::size_t part = 0; part < kParts && begin < end; ++part) {
      const std::size_t part_units = DivideUp(rows[part], unit);
      if (begin < part_units) {
        f(part, begin * unit, std::min(rows[part], std::min(end, part_units) * unit));
        begin = part_units;
      }
      begin -= part_units;
      end = end < part_units ? 0 : end - part_units;
    }
  });
}

// Calls f(token_begin, token_end) over all tokens; in parallel when there are enough of them. One token, the common
// case of generation, costs one call.
template <class F>
void ForTokenRanges(ExecutorRef executor, std::size_t tokens, F&& f) {
  constexpr std::size_t kTokensPerTask = 8;
  if (tokens <= kTokensPerTask || executor.concurrency() <= 1) {
    f(std::size_t{0}, tokens);
    return;
  }
  executor.Run(DivideUp(tokens, kTokensPerTask), [&](std::size_t task) {
    const std::size_t begin = task * kTokensPerTask;
    f(begin, std::min(tokens, begin + kTokensPerTask));
  });
}

INLAY_END_NAMESPACE

#endif  // INLAY_LAYERS_PARTITION_HPP_

// --- inlay/kernels/highway.hpp

// Includes Highway with what it needs to be told first. Every kernel file includes this instead of <hwy/highway.h>.
#ifndef INLAY_KERNELS_HIGHWAY_HPP_
#define INLAY_KERNELS_HIGHWAY_HPP_

// Highway 1.0 does not count AVX3_DL among its targets unless asked to, and then refuses to compile where -march already
// implies it (any -march=native since Ice Lake).
#if defined(__AVX512VNNI__) && !defined(HWY_WANT_AVX3_DL)
#define HWY_WANT_AVX3_DL
#endif

// Vectors of unknown length cannot be members or array elements, which the register tiles need; NEON is there as well.
#if defined(__ARM_FEATURE_SVE) && !defined(HWY_DISABLED_TARGETS)
#define HWY_DISABLED_TARGETS ((1LL << 27) | (1LL << 26) | (1LL << 25) | (1LL << 24) | (1LL << 23))
#endif

#include <hwy/highway.h>

#endif  // INLAY_KERNELS_HIGHWAY_HPP_

// --- inlay/kernels/float_lanes-inl.hpp

// Sixteen float32 lanes as one value on every target: one AVX-512 vector, two of AVX2, four of 128 bits, or plain floats.
//
// Apart because the float kernels (matrix products, attention, norms) are written against it once: a sum that runs over
// lanes has the same order everywhere, so results do not depend on the width of the target's vectors.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(INLAY_KERNELS_FLOAT_LANES_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_FLOAT_LANES_INL_HPP_
#undef INLAY_KERNELS_FLOAT_LANES_INL_HPP_
#else
#define INLAY_KERNELS_FLOAT_LANES_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
// Scalable vectors cannot be members or array elements: those targets take the plain loops too, which compilers
// vectorise.
struct Lanes16 {
  float lane[16];
};

// One rounding where the processor has a fused multiply-add, so that a compiler that may contract a * b + c has nothing
// left to decide differently in two places.
HWY_INLINE float MultiplyAdd(float a, float b, float c) {
#if defined(__FP_FAST_FMAF) || defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

#define INLAY_LANES(expression)                                         \
  Lanes16 result;                                                       \
  for (std::size_t i = 0; i < 16; ++i) result.lane[i] = (expression);   \
  return result
HWY_INLINE Lanes16 Set16(float value) { INLAY_LANES(value); }
HWY_INLINE Lanes16 Load16(const float* from) { INLAY_LANES(from[i]); }
HWY_INLINE void Store16(const Lanes16& value, float* to) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = value.lane[i];
}
HWY_INLINE Lanes16 LoadF16x16(const std::uint16_t* from) { INLAY_LANES(F16ToF32(from[i])); }
HWY_INLINE void StoreF16x16(const Lanes16& value, std::uint16_t* to) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = F32ToF16(value.lane[i]);
}
HWY_INLINE void StoreBF16x16(const Lanes16& value, std::uint16_t* to) {
  for (std::size_t i = 0; i < 16; ++i) to[i] = F32ToBF16(value.lane[i]);
}
HWY_INLINE Lanes16 LoadBF16x16(const std::uint16_t* from) { INLAY_LANES(BF16ToF32(from[i])); }
HWY_INLINE Lanes16 LoadI8x16(const std::int8_t* from) { INLAY_LANES(static_cast<float>(from[i])); }
HWY_INLINE Lanes16 LoadI32x16(const std::int32_t* from) { INLAY_LANES(static_cast<float>(from[i])); }
// Lanes 0 .. 7 = a, 8 .. 15 = b.
HWY_INLINE Lanes16 SetHalves16(float a, float b) { INLAY_LANES(i < 8 ? a : b); }
// Lane i and i + 8 = the sum of lanes i and i + 8.
HWY_INLINE Lanes16 AddHalves16(const Lanes16& a) { INLAY_LANES(a.lane[i % 8] + a.lane[i % 8 + 8]); }
HWY_INLINE Lanes16 Add16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] + b.lane[i]); }
HWY_INLINE Lanes16 Sub16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] - b.lane[i]); }
HWY_INLINE Lanes16 Mul16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] * b.lane[i]); }
HWY_INLINE Lanes16 Div16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(a.lane[i] / b.lane[i]); }
HWY_INLINE Lanes16 MulAdd16(const Lanes16& a, const Lanes16& b, const Lanes16& c) {
  INLAY_LANES(MultiplyAdd(a.lane[i], b.lane[i], c.lane[i]));
}
HWY_INLINE Lanes16 Max16(const Lanes16& a, const Lanes16& b) {
  INLAY_LANES(a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]);
}
HWY_INLINE Lanes16 Min16(const Lanes16& a, const Lanes16& b) {
  INLAY_LANES(a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]);
}
// Lanes below `begin` and from `end` on become `other`.
HWY_INLINE Lanes16 KeepRange16(const Lanes16& value, std::size_t begin, std::size_t end, float other) {
  INLAY_LANES(i >= begin && i < end ? value.lane[i] : other);
}
HWY_INLINE Lanes16 IfNegative16(const Lanes16& test, const Lanes16& yes, const Lanes16& no) {
  INLAY_LANES(test.lane[i] < 0.0f ? yes.lane[i] : no.lane[i]);
}
HWY_INLINE Lanes16 Abs16(const Lanes16& a) { INLAY_LANES(a.lane[i] < 0.0f ? -a.lane[i] : a.lane[i]); }
// 2^n for an integer-valued lane held as 12582912 + n, that is in the low bits of the mantissa.
HWY_INLINE Lanes16 PowerOfTwo16(const Lanes16& shifted) {
  INLAY_LANES(std::bit_cast<float>((std::bit_cast<std::uint32_t>(shifted.lane[i]) << 23) + 0x3F800000u));
}
// (x0, x1), (x2, x3), ... as complex numbers times those of `turn`.
HWY_INLINE Lanes16 ComplexMul16(const Lanes16& x, const Lanes16& turn) {
  Lanes16 result;
  for (std::size_t i = 0; i < 16; i += 2) {
    const float cosine = turn.lane[i], sine = turn.lane[i + 1];
    result.lane[i] = MultiplyAdd(x.lane[i], cosine, -(x.lane[i + 1] * sine));
    result.lane[i + 1] = MultiplyAdd(x.lane[i + 1], cosine, x.lane[i] * sine);
  }
  return result;
}
#undef INLAY_LANES

// Reductions fold the upper half of the lanes onto the lower one until one is left.
HWY_INLINE float Sum16(Lanes16 value) {
  for (std::size_t half = 8; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) value.lane[i] += value.lane[i + half];
  }
  return value.lane[0];
}
HWY_INLINE float Largest16(Lanes16 value) {
  for (std::size_t half = 8; half != 0; half /= 2) {
    for (std::size_t i = 0; i < half; ++i) {
      value.lane[i] = value.lane[i] > value.lane[i + half] ? value.lane[i] : value.lane[i + half];
    }
  }
  return value.lane[0];
}

#else  // fixed-size vectors

using FloatTag = hn::CappedTag<float, 16>;
using FloatVector = hn::Vec<FloatTag>;
inline constexpr std::size_t kVectorLanes = sizeof(FloatVector) / sizeof(float);
inline constexpr std::size_t kVectorsPer16 = 16 / kVectorLanes;

struct Lanes16 {
  // Written out because GCC for ARM compiles an implicit constructor without the target's attributes.
  HWY_INLINE Lanes16() {}  // NOLINT: left uninitialised

  FloatVector vector[kVectorsPer16];
};

#define INLAY_LANES(expression)                                                    \
  const FloatTag d;                                                                \
  (void)d;                                                                         \
  Lanes16 result;                                                                  \
  HWY_UNROLL(16)                                                                   \
  for (std::size_t i = 0; i < kVectorsPer16; ++i) result.vector[i] = (expression); \
  return result
HWY_INLINE Lanes16 Set16(float value) { INLAY_LANES(hn::Set(d, value)); }
HWY_INLINE Lanes16 Load16(const float* from) { INLAY_LANES(hn::LoadU(d, from + i * kVectorLanes)); }
HWY_INLINE void Store16(const Lanes16& value, float* to) {
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) hn::StoreU(value.vector[i], FloatTag(), to + i * kVectorLanes);
}
HWY_INLINE Lanes16 LoadF16x16(const std::uint16_t* from) {
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  INLAY_LANES(
      hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from) + i * kVectorLanes)));
}
HWY_INLINE Lanes16 LoadBF16x16(const std::uint16_t* from) {
  const hn::Rebind<std::uint16_t, FloatTag> half;
  const hn::RebindToUnsigned<FloatTag> wide;
  INLAY_LANES(hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(wide, hn::LoadU(half, from + i * kVectorLanes)))));
}
// Rounds to nearest even; beyond the range becomes infinity.
HWY_INLINE void StoreF16x16(const Lanes16& value, std::uint16_t* to) {
  const hn::Rebind<hwy::float16_t, FloatTag> half;
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) {
    hn::StoreU(hn::DemoteTo(half, value.vector[i]), half, reinterpret_cast<hwy::float16_t*>(to) + i * kVectorLanes);
  }
}
// Rounds to nearest even (Highway 1.0 would truncate); NaN stays NaN.
HWY_INLINE void StoreBF16x16(const Lanes16& value, std::uint16_t* to) {
  const hn::RebindToUnsigned<FloatTag> wide;
  const hn::Rebind<std::uint16_t, FloatTag> half;
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < kVectorsPer16; ++i) {
    const auto bits = hn::BitCast(wide, value.vector[i]);
    const auto upper = hn::ShiftRight<16>(bits);
    const auto odd = hn::And(upper, hn::Set(wide, 1u));
    const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(wide, 0x7FFFu))));
    const auto quiet = hn::Or(upper, hn::Set(wide, 0x40u));
    const auto nan = hn::RebindMask(wide, hn::IsNaN(value.vector[i]));
    const hn::RebindToSigned<decltype(wide)> narrowable;
    hn::StoreU(hn::DemoteTo(half, hn::BitCast(narrowable, hn::IfThenElse(nan, quiet, rounded))), half,
               to + i * kVectorLanes);
  }
}
HWY_INLINE Lanes16 LoadI8x16(const std::int8_t* from) {
  const hn::Rebind<std::int8_t, FloatTag> bytes;
  const hn::RebindToSigned<FloatTag> wide;
  INLAY_LANES(hn::ConvertTo(d, hn::PromoteTo(wide, hn::LoadU(bytes, from + i * kVectorLanes))));
}
HWY_INLINE Lanes16 LoadI32x16(const std::int32_t* from) {
  const hn::RebindToSigned<FloatTag> wide;
  INLAY_LANES(hn::ConvertTo(d, hn::LoadU(wide, from + i * kVectorLanes)));
}
HWY_INLINE Lanes16 Add16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Add(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 Sub16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Sub(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 Mul16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Mul(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 Div16(const Lanes16& a, const Lanes16& b) { INLAY_LANES(hn::Div(a.vector[i], b.vector[i])); }
HWY_INLINE Lanes16 MulAdd16(const Lanes16& a, const Lanes16& b, const Lanes16& c) {
  INLAY_LANES(hn::MulAdd(a.vector[i], b.vector[i], c.vector[i]));
}
// Lanes 0 .. 7 = a, 8 .. 15 = b.
HWY_INLINE Lanes16 SetHalves16(float a, float b) {
  if constexpr (kVectorsPer16 == 1) {
    INLAY_LANES(hn::IfThenElse(hn::FirstN(d, 8), hn::Set(d, a), hn::Set(d, b)));
  } else {
    INLAY_LANES(hn::Set(d, i < kVectorsPer16 / 2 ? a : b));
  }
}
// Lane i and i + 8 = the sum of lanes i and i + 8.
HWY_INLINE Lanes16 AddHalves16(const Lanes16& a) {
  if constexpr (kVectorsPer16 == 1) {
    INLAY_LANES(hn::Add(a.vector[i], hn::ConcatLowerUpper(d, a.vector[i], a.vector[i])));
  } else {
    constexpr std::size_t kHalf = kVectorsPer16 / 2;
    INLAY_LANES(hn::Add(a.vector[i % kHalf], a.vector[i % kHalf + kHalf]));
  }
}
// Where b is NaN the result is NaN; where only a is, it is b. NEON's instruction, as Highway uses it, would drop NaNs.
HWY_INLINE Lanes16 Max16(const Lanes16& a, const Lanes16& b) {
#if HWY_ARCH_X86
  INLAY_LANES(hn::Max(a.vector[i], b.vector[i]));
#else
  INLAY_LANES(hn::IfThenElse(hn::Gt(a.vector[i], b.vector[i]), a.vector[i], b.vector[i]));
#endif
}
HWY_INLINE Lanes16 Min16(const Lanes16& a, const Lanes16& b) {
#if HWY_ARCH_X86
  INLAY_LANES(hn::Min(a.vector[i], b.vector[i]));
#else
  INLAY_LANES(hn::IfThenElse(hn::Lt(a.vector[i], b.vector[i]), a.vector[i], b.vector[i]));
#endif
}
// Lanes below `begin` and from `end` on become `other`.
HWY_INLINE Lanes16 KeepRange16(const Lanes16& value, std::size_t begin, std::size_t end, float other) {
  const FloatVector first = hn::Set(FloatTag(), static_cast<float>(begin));
  const FloatVector last = hn::Set(FloatTag(), static_cast<float>(end));
  INLAY_LANES(hn::IfThenElse(
      hn::And(hn::Ge(hn::Iota(d, static_cast<float>(i * kVectorLanes)), first),
              hn::Lt(hn::Iota(d, static_cast<float>(i * kVectorLanes)), last)),
      value.vector[i], hn::Set(d, other)));
}
HWY_INLINE Lanes16 IfNegative16(const Lanes16& test, const Lanes16& yes, const Lanes16& no) {
  INLAY_LANES(hn::IfThenElse(hn::Lt(test.vector[i], hn::Zero(d)), yes.vector[i], no.vector[i]));
}
HWY_INLINE Lanes16 Abs16(const Lanes16& a) { INLAY_LANES(hn::Abs(a.vector[i])); }
// 2^n for an integer-valued lane held as 12582912 + n, that is in the low bits of the mantissa.
HWY_INLINE Lanes16 PowerOfTwo16(const Lanes16& shifted) {
  const hn::RebindToSigned<FloatTag> wide;
  INLAY_LANES(hn::BitCast(
      d, hn::Add(hn::ShiftLeft<23>(hn::BitCast(wide, shifted.vector[i])), hn::BitCast(wide, hn::Set(d, 1.0f)))));
}
// (x0, x1), (x2, x3), ... as complex numbers times those of `turn`.
HWY_INLINE Lanes16 ComplexMul16(const Lanes16& x, const Lanes16& turn) {
  const FloatVector flip = hn::OddEven(hn::Zero(FloatTag()), hn::Set(FloatTag(), -0.0f));
  INLAY_LANES(hn::MulAdd(x.vector[i], hn::DupEven(turn.vector[i]),
                         hn::Mul(hn::Shuffle2301(x.vector[i]), hn::Xor(hn::DupOdd(turn.vector[i]), flip))));
}
#undef INLAY_LANES

// Reductions fold the upper half of the lanes onto the lower one until one is left.
template <class Combine>
HWY_INLINE float Fold16(const Lanes16& value, Combine combine) {
  [[maybe_unused]] const hn::Full128<float> quad;
#if HWY_MAX_BYTES == 64
  const hn::Half<FloatTag> half;
  const auto eight = combine(hn::LowerHalf(half, value.vector[0]), hn::UpperHalf(half, value.vector[0]));
  auto four = combine(hn::LowerHalf(quad, eight), hn::UpperHalf(quad, eight));
#elif HWY_MAX_BYTES == 32
  const auto eight = combine(value.vector[0], value.vector[1]);
  auto four = combine(hn::LowerHalf(quad, eight), hn::UpperHalf(quad, eight));
#else
  auto four = combine(combine(value.vector[0], value.vector[2]), combine(value.vector[1], value.vector[3]));
#endif
  four = combine(four, hn::Shuffle1032(four));
  return hn::GetLane(combine(four, hn::Shuffle2301(four)));
}
HWY_INLINE float Sum16(const Lanes16& value) {
  return Fold16(value, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); });
}
HWY_INLINE float Largest16(const Lanes16& value) {
  return Fold16(value, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); });
}
#endif

// The first `count` (0 .. 15) of 16 lanes in memory; the rest is zero and not read.
HWY_INLINE Lanes16 LoadPart16(const float* from, std::size_t count) {
  alignas(64) float lanes[16] = {};
  std::memcpy(lanes, from, count * sizeof(float));
  return Load16(lanes);
}
HWY_INLINE void StorePart16(const Lanes16& value, float* to, std::size_t count) {
  alignas(64) float lanes[16];
  Store16(value, lanes);
  std::memcpy(to, lanes, count * sizeof(float));
}

// Sixteen weights or cache elements of a float type, `index` elements after `from`.
template <WeightType kType>
HWY_INLINE Lanes16 LoadFloats16(const std::byte* from, std::size_t index) {
  if constexpr (kType == WeightType::kF32) {
    return Load16(reinterpret_cast<const float*>(from) + index);
  } else if constexpr (kType == WeightType::kF16) {
    return LoadF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  } else {
    static_assert(kType == WeightType::kBF16);
    return LoadBF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/elementwise-inl.hpp

// What happens between matrix products, element by element or over one row: norms, activations, softmax, rotation.
//
// Every function works on one row, so results cannot depend on how rows are split. Sums run over 16 lanes (four
// interleaved groups of them where it is faster) and fold in one fixed order on every target.

#include <cmath>
#include <cstddef>
#include <cstdint>

#if defined(INLAY_KERNELS_ELEMENTWISE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_ELEMENTWISE_INL_HPP_
#undef INLAY_KERNELS_ELEMENTWISE_INL_HPP_
#else
#define INLAY_KERNELS_ELEMENTWISE_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// exp(x) = 2^n (1 + p(b)) with b = x - n ln 2 in [-ln 2 / 2, ln 2 / 2]: returns p(b), which is e^b - 1, and n as
// 12582912 + n (the integer sits in the low mantissa bits). The polynomial of degree 5 was fitted for the least relative
// error in float32. Relative error of the whole: at most 1.9e-7, 1.6 units in the last place.
HWY_INLINE Lanes16 ExpReduced16(const Lanes16& x, Lanes16& shifted) {
  const Lanes16 shift = Set16(12582912.0f);
  shifted = MulAdd16(x, Set16(1.44269504f), shift);
  const Lanes16 n = Sub16(shifted, shift);
  // ln 2 in two parts: n times the first is exact.
  const Lanes16 b = MulAdd16(n, Set16(-1.42860677e-6f), MulAdd16(n, Set16(-0.693145752f), x));
  const Lanes16 square = Mul16(b, b);
  const Lanes16 high = MulAdd16(Set16(0x1.0e4020p-7f), b, Set16(0x1.573e2ep-5f));
  const Lanes16 middle = MulAdd16(Set16(0x1.555e66p-3f), b, Set16(0x1.fffdb6p-2f));
  return MulAdd16(MulAdd16(high, square, middle), square, Mul16(Set16(0x1.ffffecp-1f), b));
}

}  // namespace detail

// e^x for x <= 0; below -87.3 the result stays at e^-87.3 (1.2e-38). NaN stays NaN.
HWY_INLINE Lanes16 ExpNegative16(const Lanes16& x) {
  Lanes16 shifted;
  const Lanes16 p = detail::ExpReduced16(Max16(Set16(-87.3f), x), shifted);
  const Lanes16 power = PowerOfTwo16(shifted);
  return MulAdd16(power, p, power);
}

// e^x for any x: infinity above 88.8, smaller than the least normal number below -87.4, 0 below -104. NaN stays NaN.
HWY_INLINE Lanes16 Exp16(const Lanes16& x) {
  Lanes16 shifted;
  const Lanes16 p = detail::ExpReduced16(Max16(Set16(-105.0f), Min16(Set16(90.0f), x)), shifted);
  // Two factors: 2^n alone is no float for n = 128 or n < -126.
  const Lanes16 shift = Set16(12582912.0f);
  const Lanes16 half = MulAdd16(Sub16(shifted, shift), Set16(0.5f), shift);
  const Lanes16 rest = Add16(Sub16(shifted, half), shift);
  const Lanes16 power = PowerOfTwo16(half);
  return Mul16(MulAdd16(power, p, power), PowerOfTwo16(rest));
}

// 1 / (1 + e^-x), without overflow for any x.
HWY_INLINE Lanes16 Sigmoid16(const Lanes16& x) {
  const Lanes16 one = Set16(1.0f);
  const Lanes16 e = ExpNegative16(Sub16(Set16(0.0f), Abs16(x)));
  return Div16(IfNegative16(x, e, one), Add16(one, e));
}

// Calls f(index, count) for 16 elements at a time; count is below 16 only in the last call.
template <class F>
HWY_INLINE void ForEach16(std::size_t n, F f) {
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, std::size_t{16});
  if (i < n) f(i, n - i);
}
HWY_INLINE Lanes16 LoadUpTo16(const float* from, std::size_t count) {
  return HWY_LIKELY(count == 16) ? Load16(from) : LoadPart16(from, count);
}
HWY_INLINE void StoreUpTo16(const Lanes16& value, float* to, std::size_t count) {
  if (HWY_LIKELY(count == 16)) {
    Store16(value, to);
  } else {
    StorePart16(value, to, count);
  }
}

// Sum of squares of n values: four groups of 16 lanes by index modulo 64, then (0 + 1) + (2 + 3), then the lanes.
inline float SumOfSquares(const float* x, std::size_t n) {
  Lanes16 sum0 = Set16(0.0f), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  std::size_t i = 0;
  for (; i + 64 <= n; i += 64) {
    const Lanes16 a = Load16(x + i), b = Load16(x + i + 16), c = Load16(x + i + 32), e = Load16(x + i + 48);
    sum0 = MulAdd16(a, a, sum0);
    sum1 = MulAdd16(b, b, sum1);
    sum2 = MulAdd16(c, c, sum2);
    sum3 = MulAdd16(e, e, sum3);
  }
  for (; i < n; i += 16) {
    const Lanes16 a = LoadUpTo16(x + i, n - i < 16 ? n - i : 16);
    sum0 = MulAdd16(a, a, sum0);
  }
  return Sum16(Add16(Add16(sum0, sum1), Add16(sum2, sum3)));
}

// out[i] = x[i] / sqrt(mean(x^2) + epsilon) * weight[i]. out may be x.
// Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", https://arxiv.org/abs/1910.07467.
inline void RmsNorm(const float* x, const float* weight, std::size_t n, float epsilon, float* out) {
  const float mean = SumOfSquares(x, n) / static_cast<float>(n);
  const Lanes16 scale = Set16(1.0f / std::sqrt(mean + epsilon));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(Mul16(LoadUpTo16(x + i, count), scale), LoadUpTo16(weight + i, count)), out + i, count);
  });
}

// sum[i] += x[i].
inline void AddResidual(const float* x, std::size_t n, float* sum) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Add16(LoadUpTo16(sum + i, count), LoadUpTo16(x + i, count)), sum + i, count);
  });
}

// out[i] = silu(gate[i]) * up[i], silu(x) = x / (1 + e^-x). out may be gate or up.
// Source: Shazeer 2020, "GLU Variants Improve Transformer", https://arxiv.org/abs/2002.05202.
inline void SiluMultiply(const float* gate, const float* up, std::size_t n, float* out) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 x = LoadUpTo16(gate + i, count);
    StoreUpTo16(Mul16(Mul16(x, Sigmoid16(x)), LoadUpTo16(up + i, count)), out + i, count);
  });
}

// out[i] = e^x[i]. out may be x.
inline void Exp(const float* x, std::size_t n, float* out) {
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Exp16(LoadUpTo16(x + i, count)), out + i, count);
  });
}

// The largest of n >= 1 values. What it gives when there are NaNs is not specified.
inline float Largest(const float* x, std::size_t n) {
  Lanes16 largest = Set16(x[0]);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 value = count == 16 ? Load16(x + i) : KeepRange16(LoadPart16(x + i, count), 0, count, x[0]);
    largest = Max16(largest, value);
  });
  return Largest16(largest);
}

// x[i] = e^(x[i] - largest) / sum, in place, n >= 1; the probabilities sum to 1 within rounding.
inline void Softmax(float* x, std::size_t n) {
  const Lanes16 largest = Set16(Largest(x, n));
  Lanes16 sum = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 e = ExpNegative16(Sub16(LoadUpTo16(x + i, count), largest));
    sum = Add16(sum, count == 16 ? e : KeepRange16(e, 0, count, 0.0f));
    StoreUpTo16(e, x + i, count);
  });
  const Lanes16 scale = Set16(1.0f / Sum16(sum));
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(LoadUpTo16(x + i, count), scale), x + i, count);
  });
}

// Rotates one head in place by a table of RopeTable (rope.hpp): the first 2 * half values; the rest stays.
// Pairs: elements 2 i and 2 i + 1 turn together (the order of Llama models in GGUF files and llama2.c checkpoints).
inline void RotatePairs(const float* cos_sin, std::size_t half, float* x) {
  ForEach16(2 * half, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(ComplexMul16(LoadUpTo16(x + i, count), LoadUpTo16(cos_sin + i, count)), x + i, count);
  });
}
// Halves: elements i and i + half turn together (the order of most later families).
inline void RotateHalves(const float* cos_sin, std::size_t half, float* x) {
  ForEach16(half, [&](std::size_t i, std::size_t count) HWY_ATTR {
    alignas(64) float lower[32] = {};
    for (std::size_t j = 0; j < count; ++j) {
      lower[2 * j] = x[i + j];
      lower[2 * j + 1] = x[i + j + half];
    }
    alignas(64) float turned[32];
    Store16(ComplexMul16(Load16(lower), LoadUpTo16(cos_sin + 2 * i, 2 * count < 16 ? 2 * count : 16)), turned);
    if (count > 8) {
      Store16(ComplexMul16(Load16(lower + 16), LoadUpTo16(cos_sin + 2 * i + 16, 2 * count - 16)), turned + 16);
    }
    for (std::size_t j = 0; j < count; ++j) {
      x[i + j] = turned[2 * j];
      x[i + j + half] = turned[2 * j + 1];
    }
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/simd-inl.hpp

// The vector operations that the kernels need and that Highway 1.0 lacks, under names of our own (newer Highway versions
// have some of them; an own name never becomes ambiguous by argument-dependent lookup). Apart because every kernel file
// uses it and because it is the only place with intrinsics.
//
// Integer kernels see a vector as `Words`: 32-bit lanes, one per matrix row, each holding four bytes (columns k .. k+3 of
// that row) or two 16-bit values. All shifts and masks are done on whole words, so the same source works with one lane
// (HWY_SCALAR: a plain integer), 4, 8 or 16.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(INLAY_KERNELS_SIMD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_SIMD_INL_HPP_
#undef INLAY_KERNELS_SIMD_INL_HPP_
#else
#define INLAY_KERNELS_SIMD_INL_HPP_
#endif

// What the target multiplies bytes with. Exactly one of these is 1:
//   DOT4_UNSIGNED  u8 x i8 -> i32 (x86 VNNI)        DOT4_SIGNED  i8 x i8 -> i32 (ARM dot product; emulated elsewhere)
//   MADDUBS        u8 x i8 -> saturating i16 pairs (SSSE3, AVX2, AVX-512 without VNNI)
// Highway 1.0.3 selects its AVX3_DL target statically by the wrong macro, hence the test of the compiler's own.
#undef INLAY_DOT4_UNSIGNED
#undef INLAY_DOT4_SIGNED
#undef INLAY_MADDUBS
#if HWY_ARCH_X86 && ((HWY_TARGET == HWY_AVX3 && defined(__AVX512VNNI__)) || HWY_TARGET < HWY_AVX3 || \
                     (HWY_TARGET == HWY_AVX2 && defined(__AVXVNNI__)))
#define INLAY_DOT4_UNSIGNED 1
#elif HWY_ARCH_X86 && HWY_TARGET <= HWY_SSSE3
#define INLAY_MADDUBS 1
#else
#define INLAY_DOT4_SIGNED 1
#endif
#ifndef INLAY_DOT4_UNSIGNED
#define INLAY_DOT4_UNSIGNED 0
#endif
#ifndef INLAY_DOT4_SIGNED
#define INLAY_DOT4_SIGNED 0
#endif
#ifndef INLAY_MADDUBS
#define INLAY_MADDUBS 0
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// One lane per matrix row; a row tile has 16. Vectors of unknown length cannot be array elements: such targets use their
// fixed-size subset.
using WordTag = hn::CappedTag<std::int32_t, 16>;
using FloatTag = hn::CappedTag<float, 16>;
using Words = hn::Vec<WordTag>;
using Floats = hn::Vec<FloatTag>;
inline constexpr std::size_t kWordLanes = hn::MaxLanes(WordTag());
static_assert(16 % kWordLanes == 0);

// Does nothing, but the compiler must have the value in a register here. Sums of integer products are pinned after every
// step: GCC otherwise first forms all products and then adds them, which spills most of them (Q4_K, 4 tokens, AVX2: 27
// instead of 41 multiply-adds per cycle; Clang gains a few percent).
HWY_INLINE void Pin([[maybe_unused]] Words& v) {
#if HWY_TARGET != HWY_SCALAR && HWY_ARCH_X86
  asm("" : "+v"(v.raw));
#elif HWY_TARGET != HWY_SCALAR && HWY_ARCH_ARM_A64
  asm("" : "+w"(v.raw));
#endif
}

// All lanes = the four bytes at p.
HWY_INLINE Words BroadcastWord(const void* p) {
  std::int32_t word;
  std::memcpy(&word, p, sizeof(word));
  return hn::Set(WordTag(), word);
}

// kWordLanes words from any address.
HWY_INLINE Words LoadWords(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return BroadcastWord(p);
#else
  const WordTag d;
  return hn::BitCast(d, hn::LoadU(hn::Repartition<std::uint8_t, WordTag>(), p));
#endif
}

// The same from a multiple of the vector's size.
HWY_INLINE Words LoadAlignedWords(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return BroadcastWord(p);
#else
  return hn::BitCast(WordTag(), hn::Load(hn::Repartition<std::uint8_t, WordTag>(), p));
#endif
}

HWY_INLINE void StoreWords(Words v, std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  const std::int32_t word = hn::GetLane(v);
  std::memcpy(p, &word, sizeof(word));
#else
  const hn::Repartition<std::uint8_t, WordTag> d8;
  hn::StoreU(hn::BitCast(d8, v), d8, p);
#endif
}

// One byte per lane, zero-extended or sign-extended.
HWY_INLINE Words LoadBytesUnsigned(const std::uint8_t* HWY_RESTRICT p) {
  return hn::PromoteTo(WordTag(), hn::LoadU(hn::Rebind<std::uint8_t, WordTag>(), p));
}
HWY_INLINE Words LoadBytesSigned(const std::uint8_t* HWY_RESTRICT p) {
  return hn::PromoteTo(WordTag(), hn::LoadU(hn::Rebind<std::int8_t, WordTag>(), reinterpret_cast<const std::int8_t*>(p)));
}

// Two bytes per lane, zero-extended to the lane's two 16-bit halves.
HWY_INLINE Words LoadBytePairs(const std::uint8_t* HWY_RESTRICT p) {
#if HWY_TARGET == HWY_SCALAR
  return hn::Set(WordTag(), p[0] | (p[1] << 16));
#else
  const hn::Repartition<std::int16_t, WordTag> d16;
  return hn::BitCast(WordTag(), hn::PromoteTo(d16, hn::LoadU(hn::Rebind<std::uint8_t, decltype(d16)>(), p)));
#endif
}

// kWordLanes half-precision numbers.
HWY_INLINE Floats LoadHalves(const std::uint8_t* HWY_RESTRICT p) {
  const hn::Rebind<hwy::float16_t, FloatTag> d16;
  return hn::PromoteTo(FloatTag(), hn::LoadU(d16, reinterpret_cast<const hwy::float16_t*>(p)));
}

// Lane i: a.lo * b.lo + a.hi * b.hi of its signed 16-bit halves. Exact unless all four are -32768.
HWY_INLINE Words MultiplyAddPairs(Words a, Words b) {
#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
  return Words{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Words{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return Words{_mm_madd_epi16(a.raw, b.raw)};
#else
  const Words low = hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a)), hn::ShiftRight<16>(hn::ShiftLeft<16>(b)));
  return hn::Add(low, hn::Mul(hn::ShiftRight<16>(a), hn::ShiftRight<16>(b)));
#endif
}

// sum + MultiplyAddPairs(a, b).
HWY_INLINE Words AccumulatePairs(Words sum, Words a, Words b) {
#if INLAY_DOT4_UNSIGNED && HWY_TARGET == HWY_AVX2
  return Words{_mm256_dpwssd_avx_epi32(sum.raw, a.raw, b.raw)};
#elif INLAY_DOT4_UNSIGNED
  return Words{_mm512_dpwssd_epi32(sum.raw, a.raw, b.raw)};
#else
  return hn::Add(sum, MultiplyAddPairs(a, b));
#endif
}

#if INLAY_MADDUBS
// |v| of each byte, as unsigned; and `activations` negated where the byte of `weights` is negative.
HWY_INLINE Words AbsoluteBytes(Words v) {
  const hn::Repartition<std::int8_t, WordTag> d8;
  return hn::BitCast(WordTag(), hn::Abs(hn::BitCast(d8, v)));
}
HWY_INLINE Words ApplySigns(Words activations, Words weights) {
#if HWY_TARGET == HWY_AVX3
  return Words{_mm512_mask_sub_epi8(activations.raw, _mm512_movepi8_mask(weights.raw), _mm512_setzero_si512(),
                                    activations.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Words{_mm256_sign_epi8(activations.raw, weights.raw)};
#else
  return Words{_mm_sign_epi8(activations.raw, weights.raw)};
#endif
}

// 16-bit lane i: weights (unsigned) * activations (signed) of bytes 2i and 2i+1, added with saturation.
HWY_INLINE Words MultiplyBytesToPairs(Words weights, Words activations) {
#if HWY_TARGET == HWY_AVX3
  return Words{_mm512_maddubs_epi16(weights.raw, activations.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Words{_mm256_maddubs_epi16(weights.raw, activations.raw)};
#else
  return Words{_mm_maddubs_epi16(weights.raw, activations.raw)};
#endif
}

// Bytes of `values`, negated where the byte of `signs` is negative. Where that is zero the result is not specified.
HWY_INLINE Words TakeSigns(Words values, Words signs) {
#if HWY_TARGET == HWY_AVX2
  return Words{_mm256_sign_epi8(values.raw, signs.raw)};
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return Words{_mm_sign_epi8(values.raw, signs.raw)};
#else
  const hn::Repartition<std::int8_t, WordTag> d8;
  const auto negative = hn::VecFromMask(d8, hn::Lt(hn::BitCast(d8, signs), hn::Zero(d8)));
  return hn::BitCast(WordTag(), hn::Sub(hn::Xor(hn::BitCast(d8, values), negative), negative));
#endif
}

// The 16-bit halves of each lane added apart from each other.
HWY_INLINE Words AddPairs(Words a, Words b) {
  const hn::Repartition<std::int16_t, WordTag> d16;
  return hn::BitCast(WordTag(), hn::Add(hn::BitCast(d16, a), hn::BitCast(d16, b)));
}
#endif  // INLAY_MADDUBS

// sum + the dot product of four bytes of weights and four of activations, per lane.
// Weights 0 .. 127 are right on every target; beyond, DOT4_UNSIGNED takes them as 0 .. 255, the others as -128 .. 127.
// Activations are -127 .. 127.
HWY_INLINE Words AccumulateDot4(Words sum, Words weights, Words activations) {
#if INLAY_DOT4_UNSIGNED && HWY_TARGET == HWY_AVX2
  return Words{_mm256_dpbusd_avx_epi32(sum.raw, weights.raw, activations.raw)};
#elif INLAY_DOT4_UNSIGNED
  return Words{_mm512_dpbusd_epi32(sum.raw, weights.raw, activations.raw)};
#elif INLAY_MADDUBS
  // |w| is at most 128, so two products fit 16 bits.
  const Words pairs = MultiplyBytesToPairs(AbsoluteBytes(weights), ApplySigns(activations, weights));
  return AccumulatePairs(sum, pairs, hn::Set(WordTag(), 0x00010001));
#elif HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_SCALAR && defined(__ARM_FEATURE_DOTPROD)
  return Words{vdotq_s32(sum.raw, vreinterpretq_s8_s32(weights.raw), vreinterpretq_s8_s32(activations.raw))};
#elif HWY_ARCH_ARM_A64 && HWY_TARGET != HWY_SCALAR
  // Two products of at most 128 * 127 fit 16 bits.
  const int8x16_t w = vreinterpretq_s8_s32(weights.raw);
  const int8x16_t a = vreinterpretq_s8_s32(activations.raw);
  const int16x8_t pairs = vpaddq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(a)), vmull_high_s8(w, a));
  return Words{vpadalq_s16(sum.raw, pairs)};
#elif HWY_TARGET == HWY_SCALAR
  const std::uint32_t w = static_cast<std::uint32_t>(hn::GetLane(weights));
  const std::uint32_t a = static_cast<std::uint32_t>(hn::GetLane(activations));
  const auto byte = [](std::uint32_t word, int i) {
    return static_cast<std::int32_t>(static_cast<std::int8_t>(word >> (8 * i)));
  };
  return hn::Set(WordTag(), hn::GetLane(sum) + byte(w, 0) * byte(a, 0) + byte(w, 1) * byte(a, 1) +
                                byte(w, 2) * byte(a, 2) + byte(w, 3) * byte(a, 3));
#else
  // Even and odd columns apart, in 16 bits: two products of at most 128 * 127 fit.
  const hn::Repartition<std::int16_t, WordTag> d16;
  const auto w = hn::BitCast(d16, weights);
  const auto a = hn::BitCast(d16, activations);
  const auto even = hn::Mul(hn::ShiftRight<8>(hn::ShiftLeft<8>(w)), hn::ShiftRight<8>(hn::ShiftLeft<8>(a)));
  const auto odd = hn::Mul(hn::ShiftRight<8>(w), hn::ShiftRight<8>(a));
  const Words pairs = hn::BitCast(WordTag(), hn::Add(even, odd));
  return hn::Add(sum, hn::Add(hn::ShiftRight<16>(hn::ShiftLeft<16>(pairs)), hn::ShiftRight<16>(pairs)));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_KERNELS_SIMD_INL_HPP_

// --- inlay/kernels/attention-inl.hpp

// Attention of the query heads that share one key/value head: storing keys and values, scores, softmax, weighted values.
//
// One algorithm for prefill and decode. A query goes through the positions it sees in spans (kKvSpan): scores of
// the whole span, its largest, exponentials, weighted values. The partial results of spans are merged in order. Every
// score is one chain over head_dim, every output element one chain over the positions of a span, sums of exponentials run
// over 16 lanes; nothing depends on how many queries or spans are computed together. So tokens one by one, in blocks of
// any size, and spans on different threads give the same bits.
// Positions that a query does not see are not read as values, and their scores are dropped lane by lane: what is there
// (even NaN) does not matter.
// Source: Dao et al. 2022, "FlashAttention", https://arxiv.org/abs/2205.14135; we keep a whole span of scores instead of
// rescaling at every tile, and restart at span boundaries.

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(INLAY_KERNELS_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_ATTENTION_INL_HPP_
#undef INLAY_KERNELS_ATTENTION_INL_HPP_
#else
#define INLAY_KERNELS_ATTENTION_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// Queries of one register tile, and 16-lane columns (keys, or head dimensions) computed together with that many.
inline constexpr std::size_t kMaxTileQueries = 6;
#if HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 64 && !HWY_HAVE_SCALABLE
constexpr std::size_t ColumnsPerQueries(std::size_t) { return 4; }
#else
constexpr std::size_t ColumnsPerQueries(std::size_t queries) { return queries == 1 ? 4 : queries <= 3 ? 2 : 1; }
#endif

// Sixteen elements of keys or values, as stored.
template <KvType kType>
HWY_INLINE Lanes16 LoadKv16(const std::byte* from, std::size_t index) {
  if constexpr (kType == KvType::kF32) return Load16(reinterpret_cast<const float*>(from) + index);
  if constexpr (kType == KvType::kF16) return LoadF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  if constexpr (kType == KvType::kBF16) return LoadBF16x16(reinterpret_cast<const std::uint16_t*>(from) + index);
  if constexpr (kType == KvType::kQ8) return LoadI8x16(reinterpret_cast<const std::int8_t*>(from) + index);
}

inline const float* KvScales(const std::byte* base, std::size_t head_dim, std::size_t capacity) {
  return reinterpret_cast<const float*>(base + KvScaleOffset(head_dim, capacity));
}

// out[i] = round(x[i] / scale) with scale = max |x| / 127, which is returned. NaN or infinity in x makes the scale NaN.
inline float QuantizeRow(const float* x, std::size_t n, std::int8_t* out) {
  Lanes16 largest = Set16(0.0f), probe = Set16(0.0f);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    const Lanes16 value = LoadUpTo16(x + i, count);
    largest = Max16(largest, Abs16(value));
    probe = MulAdd16(value, Set16(0.0f), probe);
  });
  const float magnitude = Largest16(largest);
  // Below, 127 / magnitude could overflow.
  const bool tiny = !(magnitude > 1e-30f);
  const Lanes16 inverse = Set16(tiny ? 0.0f : 127.0f / magnitude);
  ForEach16(n, [&](std::size_t i, std::size_t count) HWY_ATTR {
    // Added to 1.5 * 2^23, a number is rounded to an integer (ties to even) that sits in the low bits.
    alignas(64) float shifted[16];
    Store16(MulAdd16(LoadUpTo16(x + i, count), inverse, Set16(12582912.0f)), shifted);
    for (std::size_t j = 0; j < count; ++j) out[i + j] = static_cast<std::int8_t>(std::bit_cast<std::uint32_t>(shifted[j]));
  });
  return (tiny ? 0.0f : magnitude / 127.0f) + Sum16(probe);
}

// Rounds to nearest even. A finite number stays finite: beyond the range of F16 it becomes the largest F16.
template <KvType kType>
HWY_INLINE void StoreHalves16(const Lanes16& value, std::uint16_t* to) {
  if constexpr (kType == KvType::kF16) {
    StoreF16x16(Max16(Set16(-kMaxF16), Min16(Set16(kMaxF16), value)), to);
  } else {
    StoreBF16x16(value, to);
  }
}

}  // namespace detail

// Stores the key of one position, `key` [head_dim], in one layer and head's cache (KvHeadBytes at `keys`).
template <KvType kType, Extent HeadDim>
inline void StoreKey(std::byte* keys, HeadDim head_dim, std::size_t capacity, std::size_t position, const float* key) {
  const std::size_t width = head_dim;
  const std::size_t tile = position / 16, lane = position % 16;
  if constexpr (kType == KvType::kF32) {
    float* to = reinterpret_cast<float*>(keys) + tile * width * 16 + lane;
    for (std::size_t i = 0; i < width; ++i) to[i * 16] = key[i];
  } else if constexpr (kType == KvType::kQ8) {
    std::int8_t row[RoundUp(kMaxKvHeadDim, 16)] = {};
    const float scale = detail::QuantizeRow(key, width, row);
    std::byte* to = keys + tile * RoundUp(width, 4) * 16 + lane * 4;
    for (std::size_t i = 0; i < width; i += 4) std::memcpy(to + i * 16, row + i, 4);
    const_cast<float*>(detail::KvScales(keys, width, capacity))[position] = scale;
  } else {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(keys) + tile * width * 16 + lane;
    ForEach16(width, [&](std::size_t i, std::size_t count) HWY_ATTR {
      alignas(32) std::uint16_t halves[16];
      detail::StoreHalves16<kType>(LoadUpTo16(key + i, count), halves);
      for (std::size_t j = 0; j < count; ++j) to[(i + j) * 16] = halves[j];
    });
  }
}

// Stores the value of one position, as StoreKey.
template <KvType kType, Extent HeadDim>
inline void StoreValue(std::byte* values, HeadDim head_dim, std::size_t capacity, std::size_t position,
                       const float* value) {
  const std::size_t width = head_dim;
  const std::size_t stride = KvValueStride(width);
  if constexpr (kType == KvType::kF32) {
    float* to = reinterpret_cast<float*>(values) + position * stride;
    std::copy_n(value, width, to);
    std::fill(to + width, to + stride, 0.0f);
  } else if constexpr (kType == KvType::kQ8) {
    std::int8_t* to = reinterpret_cast<std::int8_t*>(values) + position * stride;
    const_cast<float*>(detail::KvScales(values, width, capacity))[position] = detail::QuantizeRow(value, width, to);
    std::fill(to + width, to + stride, std::int8_t{0});
  } else {
    std::uint16_t* to = reinterpret_cast<std::uint16_t*>(values) + position * stride;
    ForEach16(width, [&](std::size_t i, std::size_t count) HWY_ATTR {
      alignas(32) std::uint16_t halves[16];
      detail::StoreHalves16<kType>(LoadUpTo16(value + i, count), halves);
      std::copy_n(halves, std::min<std::size_t>(stride - i, 16), to + i);
    });
  }
}

namespace detail {

// One query as it is multiplied with keys. [rows, stride] float32, or for Q8 [rows, stride] int8 with scales and sums.
struct Queries {
  const float* values = nullptr;
  const std::int8_t* bytes = nullptr;
  const float* scales = nullptr;      // Q8: of the int8 values
  const std::int32_t* sums = nullptr;  // Q8: of the int8 values, which pay for taking keys as unsigned
  std::size_t stride = 0;

  Queries From(std::size_t row) const {
    return {values == nullptr ? nullptr : values + row * stride, bytes == nullptr ? nullptr : bytes + row * stride,
            scales == nullptr ? nullptr : scales + row, sums == nullptr ? nullptr : sums + row, stride};
  }
};

// The cache of one layer and key/value head.
template <Extent HeadDim>
struct KvHead {
  const std::byte* keys;
  const std::byte* values;
  HeadDim head_dim;
  std::size_t capacity;
};

// Dot products of kRows int8 queries and 16 * kColumns int8 keys. Integers: exact, whatever the order.
//   keys  the first column's, `column_bytes` from one column of 16 positions to the next
template <std::size_t kColumns, std::size_t kRows>
HWY_INLINE void DotColumns(const std::int8_t* keys, std::size_t column_bytes, std::size_t width4, const Queries& queries,
                           Lanes16 (&dots)[kColumns][kRows]) {
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
  for (std::size_t c = 0; c < kColumns; ++c) {
    for (std::size_t r = 0; r < kRows; ++r) {
      std::int32_t sums[16] = {};
      for (std::size_t i = 0; i < width4; i += 4) {
        const std::int8_t* key = keys + c * column_bytes + i * 16;
        const std::int8_t* query = queries.bytes + r * queries.stride + i;
        for (std::size_t lane = 0; lane < 16; ++lane) {
          for (std::size_t j = 0; j < 4; ++j) sums[lane] += key[lane * 4 + j] * query[j];
        }
      }
      dots[c][r] = LoadI32x16(sums);
    }
  }
#else
  const WordTag d;
  constexpr std::size_t kParts = 16 / kWordLanes;
  Words sum[kColumns][kRows][kParts];
  HWY_UNROLL(16)
  for (std::size_t r = 0; r < kRows; ++r) {
    // With unsigned keys, 128 too large, the sum of the query is counted 128 times too often.
    const Words start = INLAY_DOT4_UNSIGNED ? hn::Set(d, -128 * queries.sums[r]) : hn::Zero(d);
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) {
      HWY_UNROLL(16)
      for (std::size_t part = 0; part < kParts; ++part) sum[c][r][part] = start;
    }
  }
  for (std::size_t i = 0; i < width4; i += 4) {
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) {
      HWY_UNROLL(16)
      for (std::size_t part = 0; part < kParts; ++part) {
        const Words key = LoadWords(
            reinterpret_cast<const std::uint8_t*>(keys) + c * column_bytes + i * 16 + part * kWordLanes * 4);
#if INLAY_MADDUBS
        const hn::Repartition<std::int8_t, WordTag> d8;
        const Words magnitude = hn::BitCast(d, hn::Abs(hn::BitCast(d8, key)));
#elif INLAY_DOT4_UNSIGNED
        const Words shifted = hn::Xor(key, hn::Set(d, static_cast<std::int32_t>(0x80808080u)));
#endif
        HWY_UNROLL(16)
        for (std::size_t r = 0; r < kRows; ++r) {
          const Words query = BroadcastWord(queries.bytes + r * queries.stride + i);
          Words& to = sum[c][r][part];
#if INLAY_MADDUBS
          // |key| * (query with the key's sign): two products of at most 127 * 127 fit 16 bits.
          const Words pairs = MultiplyBytesToPairs(magnitude, TakeSigns(query, key));
          to = hn::Add(to, MultiplyAddPairs(pairs, hn::Set(d, 0x00010001)));
#elif INLAY_DOT4_UNSIGNED
          to = AccumulateDot4(to, shifted, query);
#else
          to = AccumulateDot4(to, key, query);
#endif
        }
      }
    }
  }
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (std::size_t part = 0; part < kParts; ++part) {
        dots[c][r].vector[part] = hn::ConvertTo(FloatTag(), sum[c][r][part]);
      }
    }
  }
#endif
}

// Dot products of kRows float32 queries and 16 * kColumns keys of a float type, each one chain over head_dim.
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void DotColumns(const std::byte* keys, std::size_t width, const Queries& queries,
                           Lanes16 (&dots)[kColumns][kRows]) {
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) dots[c][r] = Set16(0.0f);
  }
  for (std::size_t i = 0; i < width; ++i) {
    Lanes16 key[kColumns];
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) key[c] = LoadKv16<kType>(keys, (c * width + i) * 16);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 query = Set16(queries.values[r * queries.stride + i]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) dots[c][r] = MulAdd16(key[c], query, dots[c][r]);
    }
  }
}

// Scores of kRows queries and 16 * kColumns positions from `position` on (a multiple of 16), without any mask.
template <KvType kType, std::size_t kColumns, std::size_t kRows, Extent HeadDim>
HWY_INLINE void ScoreColumns(const KvHead<HeadDim>& kv, const Queries& queries, std::size_t position, float scale,
                             float* scores) {
  const std::size_t width = kv.head_dim;
  Lanes16 dots[kColumns][kRows];
  if constexpr (kType == KvType::kQ8) {
    const std::size_t width4 = RoundUp(width, 4);
    const float* key_scales = KvScales(kv.keys, width, kv.capacity) + position;
    DotColumns(reinterpret_cast<const std::int8_t*>(kv.keys) + position * width4, width4 * 16, width4, queries, dots);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 factor = Set16(scale * queries.scales[r]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) {
        Store16(Mul16(Mul16(dots[c][r], Load16(key_scales + c * 16)), factor),
                scores + r * kAttentionScoreStride + c * 16);
      }
    }
  } else {
    constexpr std::size_t kElement = kType == KvType::kF32 ? 4 : 2;
    DotColumns<kType>(kv.keys + position * width * kElement, width, queries, dots);
    const Lanes16 factor = Set16(scale);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) {
        Store16(Mul16(dots[c][r], factor), scores + r * kAttentionScoreStride + c * 16);
      }
    }
  }
}

// Scores of `rows` (1 .. kRows) queries and the 64 positions of one chunk.
template <KvType kType, std::size_t kRows, Extent HeadDim>
HWY_INLINE void ScoreChunk(std::size_t rows, const KvHead<HeadDim>& kv, const Queries& queries, std::size_t position,
                           float scale, float* scores) {
  if (rows == kRows) {
    constexpr std::size_t kColumns = ColumnsPerQueries(kRows);
    for (std::size_t c = 0; c < kKvChunk / 16; c += kColumns) {
      ScoreColumns<kType, kColumns, kRows>(kv, queries, position + c * 16, scale, scores + c * 16);
    }
  } else if constexpr (kRows > 1) {
    ScoreChunk<kType, kRows - 1>(rows, kv, queries, position, scale, scores);
  }
}

// sums[r, 16 columns...] += weights[r, p] * values[p, ...] for positions [begin, end) in order.
template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighColumns(const std::byte* values, std::size_t value_stride, std::size_t column, const float* weights,
                             std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  Lanes16 sum[kColumns][kRows];
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) sum[c][r] = Load16(sums + r * sum_stride + column + c * 16);
  }
  for (std::size_t p = begin; p < end; ++p) {
    Lanes16 value[kColumns];
    HWY_UNROLL(16)
    for (std::size_t c = 0; c < kColumns; ++c) value[c] = LoadKv16<kType>(values, p * value_stride + column + c * 16);
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) {
      const Lanes16 weight = Set16(weights[r * kAttentionScoreStride + p]);
      HWY_UNROLL(16)
      for (std::size_t c = 0; c < kColumns; ++c) sum[c][r] = MulAdd16(value[c], weight, sum[c][r]);
    }
  }
  HWY_UNROLL(16)
  for (std::size_t c = 0; c < kColumns; ++c) {
    HWY_UNROLL(16)
    for (std::size_t r = 0; r < kRows; ++r) Store16(sum[c][r], sums + r * sum_stride + column + c * 16);
  }
}

template <KvType kType, std::size_t kColumns, std::size_t kRows>
HWY_INLINE void WeighRows(const std::byte* values, std::size_t value_stride, std::size_t column, const float* weights,
                          std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  for (; column + kColumns * 16 <= value_stride; column += kColumns * 16) {
    WeighColumns<kType, kColumns, kRows>(values, value_stride, column, weights, begin, end, sums, sum_stride);
  }
  if constexpr (kColumns > 1) {
    if (column < value_stride) {
      WeighRows<kType, kColumns / 2, kRows>(values, value_stride, column, weights, begin, end, sums, sum_stride);
    }
  }
}

// All columns, `rows` (1 .. kRows) queries.
template <KvType kType, std::size_t kRows>
HWY_INLINE void Weigh(std::size_t rows, const std::byte* values, std::size_t value_stride, const float* weights,
                      std::size_t begin, std::size_t end, float* sums, std::size_t sum_stride) {
  if (rows == kRows) {
    WeighRows<kType, ColumnsPerQueries(kRows), kRows>(values, value_stride, 0, weights, begin, end, sums, sum_stride);
  } else if constexpr (kRows > 1) {
    Weigh<kType, kRows - 1>(rows, values, value_stride, weights, begin, end, sums, sum_stride);
  }
}

// The same for heads of at most 16 (kPack 1) or 8 (kPack 2), one query: a value fills no more than one vector, so that one
// chain per lane would wait for itself (4 cycles a position). Four chains, by position modulo 4 * kPack, and then
// (0 + 1) + (2 + 3). Writes sums [16].
template <KvType kType, std::size_t kPack>
HWY_INLINE void WeighNarrow(const std::byte* values, const float* weights, std::size_t begin, std::size_t end,
                            float* sums) {
  constexpr std::size_t kElement = kType == KvType::kF32 ? 4 : kType == KvType::kQ8 ? 1 : 2;
  constexpr std::size_t kPositionBytes = 16 / kPack * kElement;
  constexpr std::size_t kGroup = 4 * kPack;
  Lanes16 sum[4];
  HWY_UNROLL(4)
  for (std::size_t v = 0; v < 4; ++v) sum[v] = Set16(0.0f);
  const auto add_group = [&](const std::byte* value, const float* weight) HWY_ATTR {
    HWY_UNROLL(4)
    for (std::size_t v = 0; v < 4; ++v) {
      const Lanes16 factor = kPack == 1 ? Set16(weight[v]) : SetHalves16(weight[2 * v], weight[(2 * v + 1) % kGroup]);
      sum[v] = MulAdd16(LoadKv16<kType>(value, v * 16), factor, sum[v]);
    }
  };
  // A group at the edge is completed with zeros: what lies outside must not be read as values.
  const auto add_part = [&](std::size_t from, std::size_t to) HWY_ATTR {
    alignas(64) std::byte value[kGroup * kPositionBytes] = {};
    float weight[kGroup] = {};
    const std::size_t at = from % kGroup;
    std::memcpy(value + at * kPositionBytes, values + from * kPositionBytes, (to - from) * kPositionBytes);
    std::copy(weights + from, weights + to, weight + at);
    add_group(value, weight);
  };
  std::size_t p = begin;
  if (p % kGroup != 0) {
    const std::size_t stop = std::min(end, RoundUp(p, kGroup));
    add_part(p, stop);
    p = stop;
  }
  for (; p + kGroup <= end; p += kGroup) add_group(values + p * kPositionBytes, weights + p);
  if (p < end) add_part(p, end);
  const Lanes16 total = Add16(Add16(sum[0], sum[1]), Add16(sum[2], sum[3]));
  Store16(kPack == 1 ? total : AddHalves16(total), sums);
}

// What each query of a tile sees of one span: positions [begin, end) relative to the span's first, never empty. Queries
// are in order of position, so neither begin nor end ever decreases.
struct Seen {
  std::uint16_t begin[kMaxAttentionRows];
  std::uint16_t end[kMaxAttentionRows];
};
static_assert(kKvSpan <= 65535);

// Turns the scores of one query, positions [begin, end) of a span, into weights e^(score - largest) and fills in the
// partial result's largest and sum. For Q8 the weights take in the scales of the values.
template <KvType kType>
HWY_INLINE void SoftmaxSpan(float* scores, std::size_t begin, std::size_t end, const float* value_scales, float* partial) {
  const float lowest = -std::numeric_limits<float>::infinity();
  // Scores of positions that are not seen, in the first and the last sixteen, become the lowest: their weight of 1e-38 at
  // most is lost in the sum, which is at least 1.
  const std::size_t first = begin / 16 * 16, last = (end - 1) / 16 * 16;
  if (begin != first) {
    Store16(KeepRange16(Load16(scores + first), begin - first, 16, lowest), scores + first);
  }
  if (end != last + 16) Store16(KeepRange16(Load16(scores + last), 0, end - last, lowest), scores + last);
  Lanes16 most = Load16(scores + first), other = Load16(scores + last);
  std::size_t at = first;
  for (; at + 16 < last; at += 32) {
    most = Max16(most, Load16(scores + at));
    other = Max16(other, Load16(scores + at + 16));
  }
  if (at < last) most = Max16(most, Load16(scores + at));
  const float largest = Largest16(Max16(most, other));
  const Lanes16 offset = Set16(largest);
  Lanes16 sum = Set16(0.0f);
  for (at = first; at <= last; at += 16) {
    const Lanes16 weight = ExpNegative16(Sub16(Load16(scores + at), offset));
    sum = Add16(sum, weight);
    if constexpr (kType == KvType::kQ8) {
      Store16(Mul16(weight, Load16(value_scales + at)), scores + at);
    } else {
      Store16(weight, scores + at);
    }
  }
  Store16(Set16(0.0f), partial);
  partial[0] = largest;
  partial[1] = Sum16(sum);
}

// Partial results of `rows` queries over one span.
template <KvType kType, Extent HeadDim>
HWY_NOINLINE void AttendRows(const KvHead<HeadDim>& kv, const Queries& queries, const Seen& seen, std::size_t rows,
                           std::size_t span_begin, float scale, float* scores, float* partials) {
  const std::size_t head_dim = kv.head_dim;
  const std::size_t partial_stride = PartialStride(head_dim);
  const std::size_t value_stride = KvValueStride(head_dim);
  const std::size_t blocks = DivideUp(rows, kMaxTileQueries);
  const std::size_t chunk_begin = seen.begin[0] / kKvChunk * kKvChunk;
  const std::size_t chunk_end = seen.end[rows - 1];
  for (std::size_t chunk = chunk_begin; chunk < chunk_end; chunk += kKvChunk) {
    for (std::size_t left = blocks, row = 0; left != 0; --left) {
      const std::size_t count = (rows - row) / left;
      if (seen.begin[row] < chunk + kKvChunk && seen.end[row + count - 1] > chunk) {
        ScoreChunk<kType, kMaxTileQueries>(count, kv, queries.From(row), span_begin + chunk, scale,
                                           scores + row * kAttentionScoreStride + chunk);
      }
      row += count;
    }
  }
  constexpr std::size_t kElement = kType == KvType::kF32 ? 4 : kType == KvType::kQ8 ? 1 : 2;
  const std::byte* values = kv.values + span_begin * value_stride * kElement;
  const float* value_scales = nullptr;
  if constexpr (kType == KvType::kQ8) value_scales = KvScales(kv.values, head_dim, kv.capacity) + span_begin;
  for (std::size_t row = 0; row < rows; ++row) {
    float* partial = partials + row * partial_stride;
    float* weights = scores + row * kAttentionScoreStride;
    SoftmaxSpan<kType>(weights, seen.begin[row], seen.end[row], value_scales, partial);
    if (value_stride == 8) {
      WeighNarrow<kType, 2>(values, weights, seen.begin[row], seen.end[row], partial + 16);
    } else if (value_stride == 16) {
      WeighNarrow<kType, 1>(values, weights, seen.begin[row], seen.end[row], partial + 16);
    } else {
      for (std::size_t i = 0; i < value_stride; i += 16) Store16(Set16(0.0f), partial + 16 + i);
    }
  }
  if (value_stride <= 16) return;
  for (std::size_t chunk = chunk_begin; chunk < chunk_end; chunk += kKvChunk) {
    for (std::size_t left = blocks, row = 0; left != 0; --left) {
      const std::size_t count = (rows - row) / left;
      const auto weigh = [&](std::size_t first, std::size_t n, std::size_t begin, std::size_t end) HWY_ATTR {
        if (begin < end) {
          Weigh<kType, kMaxTileQueries>(n, values, value_stride, scores + first * kAttentionScoreStride, begin, end,
                                        partials + first * partial_stride + 16, partial_stride);
        }
      };
      const auto begin_of = [&](std::size_t r) { return std::clamp<std::size_t>(seen.begin[r], chunk, chunk + kKvChunk); };
      const auto end_of = [&](std::size_t r) { return std::clamp<std::size_t>(seen.end[r], chunk, chunk + kKvChunk); };
      // Positions that all queries of the block see, and for each query alone those before and after.
      const std::size_t common_begin = begin_of(row + count - 1), common_end = end_of(row);
      if (begin_of(row) == common_begin && end_of(row + count - 1) == common_end) {
        weigh(row, count, common_begin, common_end);
      } else if (common_begin < common_end) {
        for (std::size_t r = row; r < row + count; ++r) weigh(r, 1, begin_of(r), common_begin);
        weigh(row, count, common_begin, common_end);
        for (std::size_t r = row; r < row + count; ++r) weigh(r, 1, common_end, end_of(r));
      } else {
        for (std::size_t r = row; r < row + count; ++r) weigh(r, 1, begin_of(r), end_of(r));
      }
      row += count;
    }
  }
}

// Adds the next span's partial result to that of all spans before it.
inline void MergePartial(const float* next, std::size_t partial_stride, float* merged) {
  const float largest = std::max(merged[0], next[0]);
  alignas(64) float factors[16] = {merged[0] - largest, next[0] - largest};
  Store16(ExpNegative16(Load16(factors)), factors);
  const Lanes16 before = Set16(factors[0]), after = Set16(factors[1]);
  // The first sixteen hold the sum, which merges like the values, and the largest score, which does not.
  for (std::size_t i = 0; i < partial_stride; i += 16) {
    Store16(MulAdd16(Load16(merged + i), before, Mul16(Load16(next + i), after)), merged + i);
  }
  merged[0] = largest;
}

// out [head_dim] = the weighted values over the sum of weights.
inline void FinishPartial(const float* partial, std::size_t head_dim, float* out) {
  const Lanes16 scale = Set16(1.0f / partial[1]);
  ForEach16(head_dim, [&](std::size_t i, std::size_t count) HWY_ATTR {
    StoreUpTo16(Mul16(Load16(partial + 16 + i), scale), out + i, count);
  });
}

// The parts of the working memory of one call.
struct AttentionScratch {
  AttentionScratch(float* memory, std::size_t head_dim)
      : partials(memory),
        merged(partials + AttentionRows(head_dim) * PartialStride(head_dim)),
        scores(merged + AttentionRows(head_dim) * PartialStride(head_dim)),
        queries(scores + AttentionRows(head_dim) * kAttentionScoreStride),
        scales(queries + AttentionRows(head_dim) * RoundUp(head_dim, 16)),
        sums(reinterpret_cast<std::int32_t*>(scales + AttentionRows(head_dim))) {}
  float* partials;
  float* merged;
  float* scores;
  float* queries;
  float* scales;
  std::int32_t* sums;
};

// Makes the form of queries that is multiplied with keys: `rows` of the token-major list of (token, head), from head `head`
// of token 0 on; token t at queries + t * stride.
template <KvType kType>
HWY_INLINE Queries PrepareQueries(const float* queries, std::size_t stride, std::size_t group, std::size_t head_dim,
                                  std::size_t head, std::size_t rows, const AttentionScratch& scratch) {
  Queries prepared;
  std::size_t token = 0;
  if constexpr (kType != KvType::kQ8) {
    // Heads of one token lie side by side already.
    if (head + rows <= group) {
      prepared.values = queries + head * head_dim;
      prepared.stride = head_dim;
      return prepared;
    }
    prepared.values = scratch.queries;
  } else {
    prepared.bytes = reinterpret_cast<const std::int8_t*>(scratch.queries);
    prepared.scales = scratch.scales;
    prepared.sums = scratch.sums;
  }
  prepared.stride = RoundUp(head_dim, 16);
  for (std::size_t row = 0; row < rows; ++row) {
    const float* from = queries + token * stride + head * head_dim;
    if constexpr (kType != KvType::kQ8) {
      std::copy_n(from, head_dim, scratch.queries + row * prepared.stride);
    } else {
      std::int8_t* bytes = reinterpret_cast<std::int8_t*>(scratch.queries) + row * prepared.stride;
      scratch.scales[row] = QuantizeRow(from, head_dim, bytes);
      std::fill(bytes + head_dim, bytes + prepared.stride, std::int8_t{0});
      std::int32_t sum = 0;
      for (std::size_t i = 0; i < head_dim; ++i) sum += bytes[i];
      scratch.sums[row] = sum;
    }
    if (++head == group) {
      head = 0;
      ++token;
    }
  }
  return prepared;
}

}  // namespace detail

// Attention of tokens [token_begin, token_end) to one key/value head, all `shape.group` heads of its queries.
//   keys, values  one layer and head's cache (KvHeadBytes each); the tokens' own keys and values are stored already
//   queries       head h of token t at queries + t * query_stride + h * head_dim, rotated, not scaled
//   first_position  absolute position of token 0: token t is at first_position + t and sees keys up to its own
//   out           head h of token t goes to out + t * out_stride + h * head_dim
//   scratch       AttentionScratchFloats(head_dim) floats at a multiple of 64 bytes, for this call alone
// Any split of tokens over calls gives the same bits, and so does AttendSpan with MergeSpans.
template <KvType kType, Extent HeadDim>
void AttendTokens(const AttentionShape& shape, const std::byte* keys, const std::byte* values, HeadDim head_dim,
                  const float* queries, std::size_t query_stride, std::size_t first_position, std::size_t token_begin,
                  std::size_t token_end, float* out, std::size_t out_stride, float* scratch) {
  const detail::KvHead<HeadDim> kv{keys, values, head_dim, shape.capacity};
  const detail::AttentionScratch memory(scratch, head_dim);
  const std::size_t partial_stride = PartialStride(head_dim);
  const std::size_t row_end = token_end * shape.group;
  std::size_t token = token_begin, head = 0;  // of the tile's first query
  for (std::size_t row = token_begin * shape.group; row < row_end;) {
    const std::size_t rows = std::min(AttentionRows(head_dim), row_end - row);
    const detail::Queries prepared =
        detail::PrepareQueries<kType>(queries + token * query_stride, query_stride, shape.group, head_dim, head, rows, memory);
    const std::size_t tile_first = shape.First(first_position + token);
    std::size_t tile_end = 0;
    std::size_t first[kMaxAttentionRows], end[kMaxAttentionRows];
    float* to[kMaxAttentionRows];
    for (std::size_t r = 0; r < rows; ++r) {
      end[r] = tile_end = first_position + token + 1;
      first[r] = shape.First(first_position + token);
      to[r] = out + token * out_stride + head * head_dim;
      if (++head == shape.group) {
        head = 0;
        ++token;
      }
    }
    for (std::size_t span = tile_first / kKvSpan * kKvSpan; span < tile_end; span += kKvSpan) {
      // Queries are in order of position: those that see something of the span are neighbours.
      std::size_t begin = 0, stop = rows;
      while (end[begin] <= span) ++begin;
      while (stop > begin && first[stop - 1] >= span + kKvSpan) --stop;
      if (begin == stop) continue;
      detail::Seen seen;
      for (std::size_t r = begin; r < stop; ++r) {
        seen.begin[r - begin] = static_cast<std::uint16_t>(first[r] > span ? first[r] - span : 0);
        seen.end[r - begin] = static_cast<std::uint16_t>(std::min(end[r] - span, kKvSpan));
      }
      const bool fresh = first[begin] >= span;  // for the first query, and so for all
      detail::AttendRows<kType>(kv, prepared.From(begin), seen, stop - begin, span, shape.scale, memory.scores,
                                fresh ? memory.merged + begin * partial_stride : memory.partials);
      if (fresh) continue;
      for (std::size_t r = begin; r < stop; ++r) {
        const float* partial = memory.partials + (r - begin) * partial_stride;
        float* merged = memory.merged + r * partial_stride;
        if (first[r] >= span) {
          std::copy_n(partial, partial_stride, merged);
        } else {
          detail::MergePartial(partial, partial_stride, merged);
        }
      }
    }
    for (std::size_t r = 0; r < rows; ++r) detail::FinishPartial(memory.merged + r * partial_stride, head_dim, to[r]);
    row += rows;
  }
}

// One token's part of AttendTokens over one span, for spreading a long context over threads: `span` is one of
// AttentionSpans(shape, position). `query` is [group, head_dim]; `partials` [group, PartialStride(head_dim)] is written.
template <KvType kType, Extent HeadDim>
void AttendSpan(const AttentionShape& shape, const std::byte* keys, const std::byte* values, HeadDim head_dim,
                const float* query, std::size_t position, std::size_t span, float* partials, float* scratch) {
  const detail::KvHead<HeadDim> kv{keys, values, head_dim, shape.capacity};
  const detail::AttentionScratch memory(scratch, head_dim);
  const std::size_t span_begin = span * kKvSpan, first = shape.First(position);
  detail::Seen seen;
  std::fill_n(seen.begin, kMaxAttentionRows, static_cast<std::uint16_t>(first > span_begin ? first - span_begin : 0));
  std::fill_n(seen.end, kMaxAttentionRows, static_cast<std::uint16_t>(std::min(position + 1 - span_begin, kKvSpan)));
  for (std::size_t row = 0; row < shape.group; row += AttentionRows(head_dim)) {
    const std::size_t rows = std::min(AttentionRows(head_dim), shape.group - row);
    const detail::Queries prepared = detail::PrepareQueries<kType>(query, 0, shape.group, head_dim, row, rows, memory);
    detail::AttendRows<kType>(kv, prepared, seen, rows, span_begin, shape.scale, memory.scores,
                              partials + row * PartialStride(head_dim));
  }
}

// Merges the partial results [spans, group, PartialStride(head_dim)] of all spans of a token, in order, into
// out [group, head_dim]. Overwrites the first span's partial results.
inline void MergeSpans(const AttentionShape& shape, std::size_t head_dim, std::size_t spans, float* partials, float* out) {
  const std::size_t stride = PartialStride(head_dim);
  for (std::size_t head = 0; head < shape.group; ++head) {
    float* merged = partials + head * stride;
    for (std::size_t span = 1; span < spans; ++span) {
      detail::MergePartial(partials + (span * shape.group + head) * stride, stride, merged);
    }
    detail::FinishPartial(merged, head_dim, out + head * head_dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/output.hpp

// Where a matrix product puts its results. Layout only.
#ifndef INLAY_KERNELS_OUTPUT_HPP_
#define INLAY_KERNELS_OUTPUT_HPP_

#include <cstddef>

INLAY_BEGIN_NAMESPACE

// Row r of the matrix times token t goes to data[t * stride + r]: stored, or added to what is there (accumulate). The sum
// of products is complete before it is added, so accumulating into zeros gives the bits of storing.
struct Output {
  float* data = nullptr;
  std::size_t stride = 0;
  bool accumulate = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_KERNELS_OUTPUT_HPP_

// --- inlay/kernels/float_matmul-inl.hpp

// Matrix products with F32, F16 and BF16 weights: tiles of 16 rows, column by column (see packed_layout.hpp), times
// float32 activations.
//
// Apart from the quantised products because nothing is shared but the signature: here a product is an outer product of 16
// rows and a few tokens. The order in which an output is summed depends on the number of columns alone (ChainColumns), not
// on how many tokens and tiles are computed together, so any split of tokens and rows gives the same bits.

#include <algorithm>
#include <cstddef>

#if defined(INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_
#undef INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_FLOAT_MATMUL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace detail {

// The columns of one chain of multiply-adds. An output is the sum of its chains in order: two chains for narrow matrices,
// so that one token has enough independent work (64 x 64 on AVX-512: 73 -> 65 ns), and chains of 128 for wide ones, so that a batch
// finds the weights of a chain in a near cache.
constexpr std::size_t ChainColumns(std::size_t cols) { return cols >= 256 ? 128 : cols >= 16 ? DivideUp(cols, 2) : cols; }

// Tokens of one register tile, and tiles of 16 rows computed together with that many tokens: as many accumulators as
// there are registers for (16 with AVX2, 32 elsewhere), less those that hold weights and the broadcast activation.
// Measured on AVX-512: 2 x 12 and 4 x 6 reach 26 of 32 MAC/cycle, 1 x 12 reaches 21; AVX2: 1 x 6 reaches 14.5 of 16.
#if HWY_TARGET != HWY_SCALAR && HWY_MAX_BYTES == 64 && !HWY_HAVE_SCALABLE
inline constexpr std::size_t kMaxTileTokens = 12;
constexpr std::size_t TilesForTokens(std::size_t tokens) { return tokens <= 3 ? 8 : tokens <= 6 ? 4 : 2; }
#else
inline constexpr std::size_t kMaxTileTokens = 6;
constexpr std::size_t TilesForTokens(std::size_t tokens) { return tokens <= 1 ? 4 : tokens <= 3 ? 2 : 1; }
#endif
// One token: tiles computed together, and whether two chains of that many tiles run at once because one would wait for
// itself (a multiply-add takes four cycles, loading a tile half or one).
inline constexpr std::size_t kVectorTiles = TilesForTokens(1);
constexpr bool TwoChains(std::size_t tiles) { return tiles * 8 <= kVectorTiles * 5; }

// Adds the products of columns [begin, end) to sums. `tiles` is the first tile's column 0, `x` the first token's.
template <WeightType kType, std::size_t kTiles, std::size_t kTokens>
HWY_INLINE void MultiplyChain(const std::byte* tiles, std::size_t tile_columns, std::size_t begin, std::size_t end,
                              const float* x, std::size_t x_stride, Lanes16 (&sum)[kTiles][kTokens]) {
  for (std::size_t col = begin; col < end; ++col) {
    Lanes16 weights[kTiles];
    HWY_UNROLL(16)
    for (std::size_t tile = 0; tile < kTiles; ++tile) {
      weights[tile] = LoadFloats16<kType>(tiles, (tile * tile_columns + col) * 16);
    }
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) {
      const Lanes16 value = Set16(x[token * x_stride + col]);
      HWY_UNROLL(16)
      for (std::size_t tile = 0; tile < kTiles; ++tile) {
        sum[tile][token] = MulAdd16(weights[tile], value, sum[tile][token]);
      }
    }
  }
}

template <std::size_t kTiles, std::size_t kTokens>
HWY_INLINE void SetZero(Lanes16 (&sum)[kTiles][kTokens]) {
  HWY_UNROLL(16)
  for (std::size_t tile = 0; tile < kTiles; ++tile) {
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) sum[tile][token] = Set16(0.0f);
  }
}

// Adds `value` to, or stores it as, the results of 16 rows, or of `rows` if there are fewer.
HWY_INLINE void StoreRows16(Lanes16 value, float* to, std::size_t rows, bool accumulate) {
  if (HWY_LIKELY(rows >= 16)) {
    if (accumulate) value = Add16(Load16(to), value);
    Store16(value, to);
  } else {
    if (accumulate) value = Add16(LoadPart16(to, rows), value);
    StorePart16(value, to, rows);
  }
}

// kTiles tiles times one token, all columns. `rows` counts the rows from the first tile to the end of the matrix.
template <WeightType kType, std::size_t kTiles, Extent Cols>
HWY_INLINE void MultiplyVector(const std::byte* tiles, Cols cols, const float* x, std::size_t rows, float* to,
                               bool accumulate) {
  const std::size_t columns = cols;
  const std::size_t chain = ChainColumns(columns);
  Lanes16 total[kTiles][1];
  SetZero(total);
  std::size_t begin = 0;
  if constexpr (TwoChains(kTiles)) {
    for (; begin + chain < columns; begin += 2 * chain) {
      Lanes16 first[kTiles][1], second[kTiles][1];
      SetZero(first);
      SetZero(second);
      const std::size_t both = std::min(chain, columns - begin - chain);
      for (std::size_t col = begin; col < begin + both; ++col) {
        const Lanes16 value = Set16(x[col]), other = Set16(x[col + chain]);
        HWY_UNROLL(16)
        for (std::size_t tile = 0; tile < kTiles; ++tile) {
          const std::size_t at = (tile * columns + col) * 16;
          first[tile][0] = MulAdd16(LoadFloats16<kType>(tiles, at), value, first[tile][0]);
          second[tile][0] = MulAdd16(LoadFloats16<kType>(tiles, at + chain * 16), other, second[tile][0]);
        }
      }
      MultiplyChain<kType>(tiles, columns, begin + both, begin + chain, x, 0, first);
      HWY_UNROLL(16)
      for (std::size_t tile = 0; tile < kTiles; ++tile) {
        total[tile][0] = Add16(Add16(total[tile][0], first[tile][0]), second[tile][0]);
      }
    }
  }
  for (; begin < columns; begin += chain) {
    Lanes16 sum[kTiles][1];
    SetZero(sum);
    MultiplyChain<kType>(tiles, columns, begin, std::min(begin + chain, columns), x, 0, sum);
    HWY_UNROLL(16)
    for (std::size_t tile = 0; tile < kTiles; ++tile) total[tile][0] = Add16(total[tile][0], sum[tile][0]);
  }
  HWY_UNROLL(16)
  for (std::size_t tile = 0; tile < kTiles; ++tile) {
    StoreRows16(total[tile][0], to + tile * 16, rows - tile * 16, accumulate);
  }
}

// MultiplyVector for a number of tiles that is known only now: 1 .. kTiles.
template <WeightType kType, std::size_t kTiles, Extent Cols>
HWY_INLINE void MultiplyVectorUpTo(std::size_t count, const std::byte* tiles, Cols cols, const float* x,
                                   std::size_t rows, float* to, bool accumulate) {
  if (count == kTiles) {
    MultiplyVector<kType, kTiles>(tiles, cols, x, rows, to, accumulate);
  } else if constexpr (kTiles > 1) {
    MultiplyVectorUpTo<kType, kTiles - 1>(count, tiles, cols, x, rows, to, accumulate);
  }
}

// Rows [begin, end) times one token. Groups of tiles differ by at most one: 11 = 6 + 5 tiles wait less for themselves than
// 8 + 3.
template <WeightType kType, Extent Cols>
HWY_INLINE void MultiplyVectorRows(const std::byte* packed, Cols cols, const float* x, std::size_t begin,
                                   std::size_t end, std::size_t rows, float* to, bool accumulate) {
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  std::size_t tiles = DivideUp(end - begin, kRowTile);
  for (std::size_t groups = DivideUp(tiles, kVectorTiles); groups != 0; --groups) {
    const std::size_t count = tiles / groups;
    MultiplyVectorUpTo<kType, kVectorTiles>(count, packed + begin / kRowTile * tile_bytes, cols, x, rows - begin,
                                            to + begin, accumulate);
    begin += count * kRowTile;
    tiles -= count;
  }
}

// A batch is cut into blocks of kBatchRows x kBatchTokens, and their columns into chains: the activations of a block and
// chain are copied next to each other, since rows 2^n bytes apart would fall into the same cache sets, and the sums of a
// block stay in the cache until its last chain.
inline constexpr std::size_t kBatchRows = 96;
inline constexpr std::size_t kBatchTokens = 36;
inline constexpr std::size_t kMaxChain = 128;

// One chain of kTiles tiles (at a time, of `tiles` in all) times kTokens tokens, added to totals [kTokens, kBatchRows].
// `weights` is the first tile's first column of the chain; x [kTokens, kMaxChain].
template <WeightType kType, std::size_t kTiles, std::size_t kTokens>
HWY_INLINE void MultiplyBlock(const std::byte* weights, std::size_t tile_bytes, std::size_t tiles, std::size_t columns,
                              const float* x, float* totals) {
  std::size_t tile = 0;
  for (; tile + kTiles <= tiles; tile += kTiles) {
    Lanes16 sum[kTiles][kTokens];
    SetZero(sum);
    MultiplyChain<kType>(weights + tile * tile_bytes, tile_bytes / (16 * Info(kType).block_bytes), 0, columns, x,
                         kMaxChain, sum);
    HWY_UNROLL(16)
    for (std::size_t token = 0; token < kTokens; ++token) {
      HWY_UNROLL(16)
      for (std::size_t t = 0; t < kTiles; ++t) {
        float* total = totals + token * kBatchRows + (tile + t) * 16;
        Store16(Add16(Load16(total), sum[t][token]), total);
      }
    }
  }
  if constexpr (kTiles > 1) {
    if (tile < tiles) {
      MultiplyBlock<kType, kTiles / 2, kTokens>(weights + tile * tile_bytes, tile_bytes, tiles - tile, columns, x,
                                                totals + tile * 16);
    }
  }
}

// MultiplyBlock for a number of tokens that is known only now: 1 .. kTokens.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlockUpTo(std::size_t tokens, const std::byte* weights, std::size_t tile_bytes,
                                  std::size_t tiles, std::size_t columns, const float* x, float* totals) {
  if (tokens == kTokens) {
    MultiplyBlock<kType, TilesForTokens(kTokens), kTokens>(weights, tile_bytes, tiles, columns, x, totals);
  } else if constexpr (kTokens > 1) {
    MultiplyBlockUpTo<kType, kTokens - 1>(tokens, weights, tile_bytes, tiles, columns, x, totals);
  }
}

// Several tokens.
template <WeightType kType>
HWY_NOINLINE void MultiplyBatch(const std::byte* packed, std::size_t rows, std::size_t cols, const float* x,
                                std::size_t x_stride, std::size_t tokens, std::size_t row_begin, std::size_t row_end,
                                float* to, std::size_t to_stride, bool accumulate) {
  constexpr std::size_t kWeightBytes = Info(kType).block_bytes;
  alignas(64) float totals[kBatchTokens * kBatchRows];
  alignas(64) float panel[kBatchTokens * kMaxChain];
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  const std::size_t chain = ChainColumns(cols);
  static_assert(ChainColumns(255) <= kMaxChain && ChainColumns(256) <= kMaxChain);
  for (std::size_t row = row_begin; row < row_end; row += kBatchRows) {
    const std::size_t tiles = DivideUp(std::min(kBatchRows, row_end - row), kRowTile);
    const std::byte* weights = packed + row / kRowTile * tile_bytes;
    for (std::size_t first = 0; first < tokens; first += kBatchTokens) {
      const std::size_t count = std::min(kBatchTokens, tokens - first);
      std::fill_n(totals, count * kBatchRows, 0.0f);
      for (std::size_t begin = 0; begin < cols; begin += chain) {
        const std::size_t columns = std::min(chain, cols - begin);
        for (std::size_t token = 0; token < count; ++token) {
          std::copy_n(x + (first + token) * x_stride + begin, columns, panel + token * kMaxChain);
        }
        // Tiles of tokens differ by at most one: 13 = 7 + 6 keeps the multipliers busier than 12 + 1.
        std::size_t token = 0;
        for (std::size_t blocks = DivideUp(count, kMaxTileTokens); blocks != 0; --blocks) {
          const std::size_t now = (count - token) / blocks;
          MultiplyBlockUpTo<kType, kMaxTileTokens>(now, weights + begin * 16 * kWeightBytes, tile_bytes, tiles, columns,
                                                   panel + token * kMaxChain, totals + token * kBatchRows);
          token += now;
        }
      }
      for (std::size_t token = 0; token < count; ++token) {
        for (std::size_t tile = 0; tile < tiles; ++tile) {
          StoreRows16(Load16(totals + token * kBatchRows + tile * 16), to + (first + token) * to_stride + row + tile * 16,
                      rows - row - tile * 16, accumulate);
        }
      }
    }
  }
}

}  // namespace detail

// out[token, row] (=|+=) dot(weights[row], x[token]) for rows [row_begin, row_end) and tokens [token_begin, token_end).
// `packed` is the whole matrix of `rows` rows. row_begin is a multiple of 16; row_end too, or it is `rows`. Nothing beyond
// `rows` is written. Compile-time `cols` pay for one token (small models); several tokens run the same code for any width.
template <WeightType kType, Extent Cols>
void MatMulFloat(const std::byte* packed, std::size_t rows, Cols cols, const Activations& x, std::size_t token_begin,
                 std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  if (token_begin >= token_end || row_begin >= row_end) return;
  const float* from = x.values + token_begin * x.stride;
  float* to = out.data + token_begin * out.stride;
  if (token_end - token_begin == 1) {
    detail::MultiplyVectorRows<kType>(packed, cols, from, row_begin, row_end, rows, to, out.accumulate);
  } else {
    detail::MultiplyBatch<kType>(packed, rows, cols, from, x.stride, token_end - token_begin, row_begin, row_end, to,
                                 out.stride, out.accumulate);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/quantized_formats-inl.hpp

// What the quantised kernels know of the formats: how packed levels become bytes and packed scales become vectors.
//
// Apart because the kernels for few tokens (quantized_matmul-inl.hpp) and those for many (quantized_panel-inl.hpp) share
// it. A new format is a case here and in packed_layout.hpp.

#include <cstddef>
#include <cstdint>

#if defined(INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_FORMATS_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Levels are unsigned bytes on targets that multiply those: 8-bit weights get 128 added there.
template <WeightType kType>
inline constexpr int kByteOffset = LevelBits(kType) == 8 && INLAY_DOT4_UNSIGNED ? 128 : LevelOffset(kType);

// The levels of 32 columns as 8 words (word i: columns 4i .. 4i+3). `packed` points at the lanes wanted. Shifts cross
// bytes; the masks remove what came over.
template <int kBits>
HWY_INLINE void UnpackLevels(const std::uint8_t* HWY_RESTRICT packed, Words* HWY_RESTRICT words) {
  const WordTag d;
  if constexpr (kBits == 8) {
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; ++i) {
      words[i] = LoadWords(packed + i * kWordBytes);
#if INLAY_DOT4_UNSIGNED
      words[i] = hn::Xor(words[i], hn::Set(d, static_cast<std::int32_t>(0x80808080u)));
#endif
    }
    return;
  }
  const Words low = hn::Set(d, 0x0F0F0F0F);
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i) {
    const Words nibbles = LoadWords(packed + i * kWordBytes);
    words[i] = hn::And(nibbles, low);
    words[i + 4] = hn::And(hn::ShiftRight<4>(nibbles), low);
  }
  if constexpr (kBits == 5) {
    const Words bits = LoadWords(packed + 4 * kWordBytes);
    const Words fifth = hn::Set(d, 0x10101010);
    words[0] = hn::Or(words[0], hn::And(hn::ShiftLeft<4>(bits), fifth));
    words[1] = hn::Or(words[1], hn::And(hn::ShiftLeft<3>(bits), fifth));
    words[2] = hn::Or(words[2], hn::And(hn::ShiftLeft<2>(bits), fifth));
    words[3] = hn::Or(words[3], hn::And(hn::ShiftLeft<1>(bits), fifth));
    words[4] = hn::Or(words[4], hn::And(bits, fifth));
    words[5] = hn::Or(words[5], hn::And(hn::ShiftRight<1>(bits), fifth));
    words[6] = hn::Or(words[6], hn::And(hn::ShiftRight<2>(bits), fifth));
    words[7] = hn::Or(words[7], hn::And(hn::ShiftRight<3>(bits), fifth));
  }
  if constexpr (kBits == 6) {
    const Words upper = hn::Set(d, 0x30303030);
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      const Words bits = LoadWords(packed + (4 + i) * kWordBytes);
      words[4 * i] = hn::Or(words[4 * i], hn::And(hn::ShiftLeft<4>(bits), upper));
      words[4 * i + 1] = hn::Or(words[4 * i + 1], hn::And(hn::ShiftLeft<2>(bits), upper));
      words[4 * i + 2] = hn::Or(words[4 * i + 2], hn::And(bits, upper));
      words[4 * i + 3] = hn::Or(words[4 * i + 3], hn::And(hn::ShiftRight<2>(bits), upper));
    }
  }
}

// Asks for levels that are needed soon. The hardware's prefetching alone leaves a third of the memory bandwidth unused
// when one token is multiplied (Q4_K, one Granite Rapids core: 10.4 without, 13.6 GB/s with; 4 KiB or more ahead: less).
template <WeightType kType>
HWY_INLINE void PrefetchLevels(const std::uint8_t* levels) {
  constexpr std::size_t kDistance = 2048;
  for (std::size_t i = 0; i < PackedLevelBytes(kType); i += kWordBytes) __builtin_prefetch(levels + kDistance + i);
}

// A sub-scale per lane in the form that AccumulateScaled wants: where bytes multiply to 16-bit pairs, in both halves.
HWY_INLINE Words PrepareScale(Words scale) {
#if INLAY_MADDUBS
  return hn::Or(hn::And(scale, hn::Set(WordTag(), 0xFFFF)), hn::ShiftLeft<16>(scale));
#else
  return scale;
#endif
}

// Columns that share a sub-scale in a block of 256, and how many such groups it has. Formats with blocks of 32 have none.
template <WeightType kType>
inline constexpr std::size_t kGroupColumns = kType == WeightType::kQ6_K ? 16 : 32;
// Formats whose value is scale * level - min, or scale * level + m.
template <WeightType kType>
inline constexpr bool kHasMin = kType == WeightType::kQ4_1 || kType == WeightType::kQ5_1 || kType == WeightType::kQ4_K ||
                                kType == WeightType::kQ5_K;

// The float scales of the kWordLanes rows from `lane` on, of any block; and m or dmin where the format has one.
HWY_INLINE Floats LoadBlockScale(const std::uint8_t* HWY_RESTRICT block, std::size_t lane) {
  return LoadHalves(block + 2 * lane);
}
HWY_INLINE Floats LoadBlockMin(const std::uint8_t* HWY_RESTRICT block, std::size_t lane) {
  return LoadHalves(block + 2 * kRowTile + 2 * lane);
}

// Integers of a block of 256 columns, for kWordLanes rows from `lane` on:
//   scales[g]       prepared sub-scale of group g
//   corrections[j]  pairs of 16-bit values: sum over j of MultiplyAddPairs(corrections[j], activation sums 2j and 2j + 1)
//                   is the integer part of the mins (Q4_K, Q5_K: 4 pairs over sums of 32 columns), or what kByteOffset times
//                   is too much in the product (Q6_K: 8 pairs over sums of 16 columns).
template <WeightType kType>
HWY_INLINE void LoadGroupScales(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, Words* HWY_RESTRICT scales,
                                Words* HWY_RESTRICT corrections) {
  const WordTag d;
  if constexpr (kType == WeightType::kQ6_K) {
    const std::uint8_t* bytes = block + 2 * kRowTile + lane;
    const Words low = hn::Set(d, 0xFFFF);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < 8; ++i) {
      const Words even = LoadBytesSigned(bytes + 2 * i * kRowTile);
      const Words odd = LoadBytesSigned(bytes + (2 * i + 1) * kRowTile);
      scales[2 * i] = PrepareScale(even);
      scales[2 * i + 1] = PrepareScale(odd);
      corrections[i] = hn::Or(hn::And(even, low), hn::ShiftLeft<16>(odd));
    }
  } else {
    // See GroupScales in codec.hpp for the bits. Four scales or mins in the bytes of a word.
    const std::uint8_t* words = block + 4 * kRowTile + 4 * lane;
    const Words first = LoadWords(words);
    const Words second = LoadWords(words + kWordBytes);
    const Words third = LoadWords(words + 2 * kWordBytes);
    const Words six = hn::Set(d, 0x3F3F3F3F);
    const Words four = hn::Set(d, 0x0F0F0F0F);
    const Words upper = hn::Set(d, 0x30303030);
    const Words even = hn::Set(d, 0x00FF00FF);
    const Words byte = hn::Set(d, 0xFF);
    const Words scale_words[2] = {hn::And(first, six),
                                  hn::Or(hn::And(third, four), hn::And(hn::ShiftRight<2>(first), upper))};
    const Words min_words[2] = {
        hn::And(second, six),
        hn::Or(hn::And(hn::ShiftRight<4>(third), four), hn::And(hn::ShiftRight<2>(second), upper))};
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 2; ++i) {
      scales[4 * i] = PrepareScale(hn::And(scale_words[i], byte));
      scales[4 * i + 1] = PrepareScale(hn::And(hn::ShiftRight<8>(scale_words[i]), byte));
      scales[4 * i + 2] = PrepareScale(hn::And(hn::ShiftRight<16>(scale_words[i]), byte));
      scales[4 * i + 3] = PrepareScale(hn::ShiftRight<24>(scale_words[i]));
      corrections[2 * i] = hn::And(min_words[i], even);
      corrections[2 * i + 1] = hn::And(hn::ShiftRight<8>(min_words[i]), even);
    }
  }
}
template <WeightType kType>
inline constexpr std::size_t kCorrections = kType == WeightType::kQ6_K ? 8 : 4;
// Where the sums that corrections multiply with start in the 24 of a block of activations.
template <WeightType kType>
inline constexpr std::size_t kCorrectionSums = kType == WeightType::kQ6_K ? 0 : 16;

// The quantised activations from some token on; token t's are t strides further.
struct TokenRows {
  explicit TokenRows(const QuantizedRows& rows)
      : values(rows.values),
        scales(rows.scales),
        sums(rows.sums),
        value_stride(rows.value_stride),
        scale_stride(rows.scale_stride),
        sum_stride(rows.sum_stride) {}

  // From `tokens` tokens, and from `blocks` blocks of kValues columns further on.
  TokenRows From(std::size_t tokens) const {
    TokenRows from = *this;
    from.values += tokens * value_stride;
    from.scales += tokens * scale_stride;
    from.sums += tokens * sum_stride;
    return from;
  }
  template <std::size_t kValues>
  TokenRows FromBlock(std::size_t blocks) const {
    TokenRows from = *this;
    from.values += blocks * kValues;
    from.scales += blocks;
    from.sums += blocks * (kValues == 32 ? 1 : 24);
    return from;
  }

  const std::int8_t* values;
  const float* scales;
  const std::int16_t* sums;
  std::size_t value_stride;
  std::size_t scale_stride;
  std::size_t sum_stride;
};

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/quantized_amx-inl.hpp

// Matrix products with quantised weights for many tokens on Intel's tile multiplier (AMX int8), where the compiler may use
// it and the system lets the process.
//
// Apart because it is another machine: 16 tokens x 16 rows x 64 columns per instruction. K-quants need no step per
// sub-scale here: level * sub-scale is an integer of up to 13 bits, split exactly into 256 * high + low, and both bytes go
// through the multiplier; 256 columns end in one int32 sum, as in the other kernels, so the bits are the same.

#if defined(INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_AMX_INL_HPP_
#endif

#undef INLAY_AMX
#if ((defined(__AMX_INT8__) && defined(__AMX_TILE__)) || (defined(__AMXINT8__) && defined(__AMXTILE__))) && \
    defined(__linux__) && HWY_ARCH_X86_64 && HWY_TARGET <= HWY_AVX3
#define INLAY_AMX 1
#else
#define INLAY_AMX 0
#endif

#if INLAY_AMX

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Tokens of one tile, and row tiles that are multiplied with it: 4 sums, so that each tile of activations, which comes from
// the second-level cache, is loaded once for 32 rows.
inline constexpr std::size_t kAmxTokens = 16;
inline constexpr std::size_t kAmxRowTiles = 2;
inline constexpr std::size_t kAmxRows = kAmxRowTiles * kRowTile;
// Tokens that share one unpacking of the weights. Their float sums wait in the caller's buffer.
inline constexpr std::size_t kAmxBlock = 192;

// Asks the system for the tile registers; the answer never changes, but asking takes less than 0.1 us, which is less than
// a cache that threads share is worth. False: they must not be touched.
inline bool AmxPermitted() {
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Tiles 0-3: sums [16 tokens][16 rows]. 4, 5: activations [16 tokens][kColumns]. 6, 7: weights [kColumns / 4][16 rows][4].
template <std::size_t kColumns>
HWY_INLINE void ConfigureTiles() {
  struct alignas(64) {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  } config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = tile == 4 || tile == 5 ? kColumns : 64;
    config.rows[tile] = tile >= 6 ? kColumns / 4 : 16;
  }
  _tile_loadconfig(&config);
}

// 256 columns (fewer at the end of a row, for formats with blocks of 32) of one row tile. Words as in the packed layout.
template <std::size_t kBlockValues>
struct AmxPanel;
template <>
struct alignas(64) AmxPanel<256> {
  std::uint8_t low[64 * kWordBytes];  // level * sub-scale = 256 * high (signed) + low (unsigned)
  std::uint8_t high[64 * kWordBytes];
  std::uint8_t corrections[4 * kWordBytes];  // see LoadGroupScales
  float block_scales[kRowTile];
  float block_mins[kRowTile];
};
template <>
struct alignas(64) AmxPanel<32> {
  std::uint8_t levels[64 * kWordBytes];  // signed, offset subtracted
  float block_scales[8 * kRowTile];
  float block_mins[8 * kRowTile];
};

template <WeightType kType>
HWY_NOINLINE void UnpackAmx(const std::uint8_t* HWY_RESTRICT block, std::size_t, AmxPanel<256>& panel) {
  const FloatTag df;
  const WordTag di;
  const hn::Repartition<std::int16_t, WordTag> d16;
  hn::Store(LoadBlockScale(block, 0), df, panel.block_scales);
  Words scales[256 / kGroupColumns<kType>];
  Words corrections[kCorrections<kType>];
  LoadGroupScales<kType>(block, 0, scales, corrections);
  if constexpr (kHasMin<kType>) {
    hn::Store(LoadBlockMin(block, 0), df, panel.block_mins);
    for (std::size_t i = 0; i < kCorrections<kType>; ++i) StoreWords(corrections[i], panel.corrections + i * kWordBytes);
  }
  const hn::Repartition<std::uint8_t, WordTag> d8;
  const auto low_bytes = hn::Set(d16, 0x00FF);
  for (std::size_t i = 0; i < 8; ++i) {
    Words levels[8];
    UnpackLevels<LevelBits(kType)>(block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType), levels);
    HWY_UNROLL(8)
    for (std::size_t word = 0; word < 8; ++word) {
      const Words scale = scales[(8 * i + word) / (kGroupColumns<kType> / 4)];
      const auto pair_scale = hn::BitCast(d16, hn::Or(hn::And(scale, hn::Set(di, 0xFFFF)), hn::ShiftLeft<16>(scale)));
      const auto level = hn::BitCast(d16, levels[word]);
      auto even = hn::And(level, low_bytes);
      auto odd = hn::ShiftRight<8>(level);
      if constexpr (LevelOffset(kType) != 0) {
        even = hn::Sub(even, hn::Set(d16, LevelOffset(kType)));
        odd = hn::Sub(odd, hn::Set(d16, LevelOffset(kType)));
      }
      even = hn::Mul(even, pair_scale);
      odd = hn::Mul(odd, pair_scale);
      const auto low = hn::OddEven(hn::BitCast(d8, hn::ShiftLeft<8>(odd)), hn::BitCast(d8, even));
      const auto high = hn::OddEven(hn::BitCast(d8, odd), hn::BitCast(d8, hn::ShiftRight<8>(even)));
      StoreWords(hn::BitCast(di, low), panel.low + (8 * i + word) * kWordBytes);
      StoreWords(hn::BitCast(di, high), panel.high + (8 * i + word) * kWordBytes);
    }
  }
}

template <WeightType kType>
HWY_NOINLINE void UnpackAmx(const std::uint8_t* HWY_RESTRICT packed, std::size_t blocks, AmxPanel<32>& panel) {
  const FloatTag df;
  const hn::Repartition<std::uint8_t, WordTag> d8;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint8_t* block = packed + b * PackedBlockBytes(kType);
    hn::Store(LoadBlockScale(block, 0), df, panel.block_scales + b * kRowTile);
    if constexpr (kHasMin<kType>) hn::Store(LoadBlockMin(block, 0), df, panel.block_mins + b * kRowTile);
    Words levels[8];
    UnpackLevels<LevelBits(kType)>(block + PackedHeaderBytes(kType), levels);
    HWY_UNROLL(8)
    for (std::size_t word = 0; word < 8; ++word) {
      const auto level = hn::Sub(hn::BitCast(d8, levels[word]), hn::Set(d8, kByteOffset<kType>));
      StoreWords(hn::BitCast(WordTag(), level), panel.levels + (8 * b + word) * kWordBytes);
    }
  }
}

// Integer sums of 16 tokens, as stored from two tiles per row tile: of K-quants the low and high bytes, else two blocks of
// 32 columns.
struct alignas(64) AmxSums {
  std::int32_t sums[kAmxRowTiles][2][kAmxTokens][kRowTile];
};

// results[i][row] += the block for tokens i of [begin, end) of a tile; x starts at the tile's first token. `blocks` is 1.
template <WeightType kType>
HWY_INLINE void AddAmxSums(const AmxPanel<256>* HWY_RESTRICT panels, const AmxSums& sums, const TokenRows& x, std::size_t,
                           std::size_t begin, std::size_t end, float* HWY_RESTRICT results) {
  const FloatTag df;
  const WordTag di;
  const float* token_scales = x.scales + begin * x.scale_stride;
  [[maybe_unused]] const std::int16_t* token_sums = x.sums + begin * x.sum_stride + kCorrectionSums<kType>;
  // In registers: loads are what the tile multiplier leaves least of.
  Floats scales[kAmxRowTiles];
  [[maybe_unused]] Floats mins[kAmxRowTiles];
  [[maybe_unused]] Words corrections[kAmxRowTiles][4];
  HWY_UNROLL(2)
  for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
    scales[tile] = hn::Load(df, panels[tile].block_scales);
    if constexpr (kHasMin<kType>) {
      mins[tile] = hn::Load(df, panels[tile].block_mins);
      HWY_UNROLL(4)
      for (std::size_t j = 0; j < 4; ++j) {
        corrections[tile][j] = LoadAlignedWords(panels[tile].corrections + j * kWordBytes);
      }
    }
  }
  for (std::size_t i = begin; i < end; ++i) {
    const Floats token_scale = hn::Set(df, *token_scales);
    [[maybe_unused]] Words token_words[4];
    if constexpr (kHasMin<kType>) {
      HWY_UNROLL(4)
      for (std::size_t j = 0; j < 4; ++j) token_words[j] = BroadcastWord(token_sums + 2 * j);
      token_sums += x.sum_stride;
    }
    HWY_UNROLL(2)
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      float* to = results + i * kAmxRows + tile * kRowTile;
      Floats result = hn::Load(df, to);
      if constexpr (kHasMin<kType>) {
        Words correction = MultiplyAddPairs(corrections[tile][0], token_words[0]);
        HWY_UNROLL(4)
        for (std::size_t j = 1; j < 4; ++j) correction = AccumulatePairs(correction, corrections[tile][j], token_words[j]);
        result = hn::NegMulAdd(hn::ConvertTo(df, correction), hn::Mul(mins[tile], token_scale), result);
      }
      const Words high = hn::ShiftLeft<8>(hn::Load(di, sums.sums[tile][1][i]));
      const Words sum = hn::Add(high, hn::Load(di, sums.sums[tile][0][i]));
      result = hn::MulAdd(hn::ConvertTo(df, sum), hn::Mul(scales[tile], token_scale), result);
      hn::Store(result, df, to);
    }
    token_scales += x.scale_stride;
  }
}

// The same for `blocks` (1 or 2) blocks of 32 columns; panels and x start at the first of them.
template <WeightType kType>
HWY_INLINE void AddAmxSums(const AmxPanel<32>* HWY_RESTRICT panels, const AmxSums& sums, const TokenRows& x,
                           std::size_t block, std::size_t blocks, std::size_t begin, std::size_t end,
                           float* HWY_RESTRICT results) {
  const FloatTag df;
  const WordTag di;
  for (std::size_t i = begin; i < end; ++i) {
    const float* token_scales = x.scales + i * x.scale_stride + block;
    [[maybe_unused]] const std::int16_t* token_sums = x.sums + i * x.sum_stride + block;
    HWY_UNROLL(2)
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      float* to = results + i * kAmxRows + tile * kRowTile;
      Floats result = hn::Load(df, to);
      for (std::size_t b = 0; b < blocks; ++b) {
        const Floats block_scale = hn::Load(df, panels[tile].block_scales + (block + b) * kRowTile);
        const Floats sum = hn::ConvertTo(df, hn::Load(di, sums.sums[tile][b][i]));
        result = hn::MulAdd(sum, hn::Mul(block_scale, hn::Set(df, token_scales[b])), result);
        if constexpr (kHasMin<kType>) {
          const float token_sum = token_scales[b] * static_cast<float>(token_sums[b]);
          const Floats min = hn::Load(df, panels[tile].block_mins + (block + b) * kRowTile);
          result = hn::MulAdd(min, hn::Set(df, token_sum), result);
        }
      }
      hn::Store(result, df, to);
    }
  }
}

// results[i * 32 + r] = row r of two row tiles, `tile_bytes` apart, times slot i: slots [16 t, 16 t + 16) are the tokens
// from start(t) on, for `tiles` tiles of tokens. While the multiplier works on one unit (one tile of tokens times 256 or,
// with blocks of 32, 64 columns), the vector units scale the sums of the one before.
template <WeightType kType, class Start>
HWY_NOINLINE void MultiplyAmx(const std::uint8_t* HWY_RESTRICT packed, std::size_t tile_bytes, std::size_t cols,
                              const TokenRows& x, std::size_t tiles, const Start& start, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  AmxPanel<kValues> panels[kAmxRowTiles];
  AmxSums sums;
  const std::size_t stride = x.value_stride;
  std::memset(results, 0, tiles * kAmxTokens * kAmxRows * sizeof(float));
  for (std::size_t col = 0; col < cols; col += 256) {
    const TokenRows at = x.template FromBlock<kValues>(col / kValues);
    const std::size_t blocks = (cols - col < 256 ? cols - col : 256) / kValues;
    for (std::size_t tile = 0; tile < kAmxRowTiles; ++tile) {
      UnpackAmx<kType>(packed + tile * tile_bytes + col / kValues * PackedBlockBytes(kType), blocks, panels[tile]);
    }
    // The compiler does not know that tile loads read memory.
    asm volatile("" : : "r"(panels) : "memory");

    const std::size_t parts = DivideUp(blocks, 2);  // units of one tile of tokens
    std::size_t tile_before = 0, part_before = 0;
    const auto add_before = [&](std::size_t begin, std::size_t end) HWY_ATTR __attribute__((always_inline)) {
      const std::size_t left = blocks - 2 * part_before;
      if constexpr (kValues == 256) {
        AddAmxSums<kType>(panels, sums, at.From(start(tile_before)), 0, begin, end,
                          results + tile_before * kAmxTokens * kAmxRows);
      } else {
        AddAmxSums<kType>(panels, sums, at.From(start(tile_before)), 2 * part_before, left < 2 ? left : 2, begin, end,
                          results + tile_before * kAmxTokens * kAmxRows);
      }
    };
    bool has_before = false;
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const std::int8_t* values = at.values + start(tile) * stride;
      for (std::size_t part = 0; part < parts; ++part) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        if constexpr (kValues == 256) {
          for (std::size_t half = 0; half < 2; ++half) {
            HWY_UNROLL(2)
            for (std::size_t quarter = 2 * half; quarter < 2 * half + 2; ++quarter) {
              const std::size_t word = 16 * quarter;
              _tile_loadd(4, values + 64 * quarter, stride);
              _tile_loadd(6, panels[0].low + word * kWordBytes, kWordBytes);
              _tile_dpbsud(0, 4, 6);
              _tile_loadd(7, panels[0].high + word * kWordBytes, kWordBytes);
              _tile_dpbssd(1, 4, 7);
              _tile_loadd(6, panels[1].low + word * kWordBytes, kWordBytes);
              _tile_dpbsud(2, 4, 6);
              _tile_loadd(7, panels[1].high + word * kWordBytes, kWordBytes);
              _tile_dpbssd(3, 4, 7);
            }
            if (has_before) add_before(8 * half, 8 * half + 8);
          }
        } else {
          // Of the last block without a partner, what follows is multiplied too, and not used.
          _tile_loadd(4, values + 64 * part, stride);
          _tile_loadd(6, panels[0].levels + 16 * part * kWordBytes, kWordBytes);
          _tile_dpbssd(0, 4, 6);
          _tile_loadd(7, panels[1].levels + 16 * part * kWordBytes, kWordBytes);
          _tile_dpbssd(2, 4, 7);
          _tile_loadd(5, values + 64 * part + 32, stride);
          _tile_loadd(6, panels[0].levels + (16 * part + 8) * kWordBytes, kWordBytes);
          _tile_dpbssd(1, 5, 6);
          _tile_loadd(7, panels[1].levels + (16 * part + 8) * kWordBytes, kWordBytes);
          _tile_dpbssd(3, 5, 7);
          if (has_before) add_before(0, kAmxTokens);
        }
        _tile_stored(0, sums.sums[0][0], kWordBytes);
        _tile_stored(1, sums.sums[0][1], kWordBytes);
        _tile_stored(2, sums.sums[1][0], kWordBytes);
        _tile_stored(3, sums.sums[1][1], kWordBytes);
        has_before = true;
        tile_before = tile;
        part_before = part;
      }
    }
    add_before(0, kAmxTokens);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_AMX

#endif  // toggle guard

// --- inlay/kernels/quantized_panel-inl.hpp

// Matrix products with quantised weights for many tokens (prefill): 256 columns of a row tile are unpacked once into a
// panel in the first-level cache and multiplied with a whole block of tokens.
//
// Apart from the kernels for few tokens (quantized_matmul-inl.hpp), which unpack into registers. Both compute the same
// integers per block and add the blocks of a row to the float sum in order, so that they give the same bits.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_PANEL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The register tile: kPanelVectors vectors of rows times kPanelTokens tokens. Two vectors share each broadcast of
// activations, which costs a load.
inline constexpr std::size_t kPanelVectors = 2;
inline constexpr std::size_t kPanelTokens = kWordLanes == 16 ? 6 : 4;
// Row tiles that are processed together.
inline constexpr std::size_t kPanelTiles = kPanelVectors * kWordLanes / kRowTile == 0 ? 1 : kPanelVectors * kWordLanes / kRowTile;
// Tokens that share one unpacking. Their float sums wait in the caller's buffer.
inline constexpr std::size_t kPanelBlock = 96;

// 256 columns (fewer at the end of a row, for formats with blocks of 32) of one row tile, ready to multiply. Rows side by
// side as in the packed layout.
struct alignas(64) Panel {
  std::uint8_t levels[64 * kWordBytes];       // word i: columns 4i .. 4i+3
  std::uint8_t scales[16 * kWordBytes];       // blocks of 256: prepared sub-scales of the groups
  std::uint8_t corrections[8 * kWordBytes];   // see LoadGroupScales
  float block_scales[8 * kRowTile];           // of each block
  float block_mins[8 * kRowTile];
};

template <WeightType kType>
HWY_NOINLINE void UnpackPanel(const std::uint8_t* HWY_RESTRICT packed, std::size_t blocks, Panel& panel) {
  constexpr std::size_t kBlockLevels = Info(kType).block_values / 32u;
  for (std::size_t b = 0; b < blocks; ++b) {
    const std::uint8_t* block = packed + b * PackedBlockBytes(kType);
    for (std::size_t lane = 0; lane < kRowTile; lane += kWordLanes) {
      const FloatTag df;
      hn::Store(LoadBlockScale(block, lane), df, panel.block_scales + b * kRowTile + lane);
      if constexpr (kHasMin<kType>) hn::Store(LoadBlockMin(block, lane), df, panel.block_mins + b * kRowTile + lane);
      if constexpr (kBlockLevels == 8) {
        Words scales[256 / kGroupColumns<kType>];
        Words corrections[kCorrections<kType>];
        LoadGroupScales<kType>(block, lane, scales, corrections);
        for (std::size_t i = 0; i < 256 / kGroupColumns<kType>; ++i) {
          StoreWords(scales[i], panel.scales + i * kWordBytes + 4 * lane);
        }
        for (std::size_t i = 0; i < kCorrections<kType>; ++i) {
          StoreWords(corrections[i], panel.corrections + i * kWordBytes + 4 * lane);
        }
      }
      for (std::size_t i = 0; i < kBlockLevels; ++i) {
        Words levels[8];
        UnpackLevels<LevelBits(kType)>(block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType) + 4 * lane, levels);
        std::uint8_t* to = panel.levels + (b * kBlockLevels + i) * 8 * kWordBytes + 4 * lane;
        HWY_UNROLL(8)
        for (std::size_t word = 0; word < 8; ++word) StoreWords(levels[word], to + word * kWordBytes);
      }
    }
  }
}

// The vectors of a register tile, each kWordLanes rows of a panel.
struct PanelRows {
  const Panel* panel;
  std::size_t lane;

  // Vector `v`'s part of a word of every row, counted from the member `words` of the first panel.
  const std::uint8_t* Word(const std::uint8_t* words, std::size_t v) const {
    const std::size_t row = lane + v * kWordLanes;
    return words + row / kRowTile * sizeof(Panel) + row % kRowTile * 4;
  }
  const float* Scale(const float* scales, std::size_t v) const {
    return reinterpret_cast<const float*>(Word(reinterpret_cast<const std::uint8_t*>(scales), v));
  }
};

using PanelTile = Words[kPanelVectors][kPanelTokens];

// dots += kWords words of levels, from word `word` of the panel, times activations. As 16-bit pairs where those are what
// the target multiplies to (then `dots` is overwritten), else as 32-bit sums.
template <bool kPairs, std::size_t kWords>
HWY_INLINE void AccumulatePanel(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                std::size_t stride, PanelTile& dots) {
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; ++i) {
    Words levels[kPanelVectors];
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      levels[v] = LoadAlignedWords(rows.Word(rows.panel->levels, v) + (word + i) * kWordBytes);
    }
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      const Words activations = BroadcastWord(values + t * stride + 4 * (word + i));
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) {
#if INLAY_MADDUBS
        if constexpr (kPairs) {
          const Words pairs = MultiplyBytesToPairs(levels[v], activations);
          dots[v][t] = i == 0 ? pairs : AddPairs(dots[v][t], pairs);
          Pin(dots[v][t]);
          continue;
        }
#endif
        dots[v][t] = AccumulateDot4(dots[v][t], levels[v], activations);
        Pin(dots[v][t]);
      }
    }
  }
}

// totals += scale * (kWords words of levels times activations), exact; `scale` counts groups.
template <int kBits, std::size_t kWords>
HWY_INLINE void AccumulateScaledPanel(const PanelRows& rows, std::size_t word, const std::int8_t* HWY_RESTRICT values,
                                      std::size_t stride, std::size_t scale, PanelTile& totals) {
  [[maybe_unused]] constexpr int kMost = (1 << kBits) - 1;
#if INLAY_MADDUBS
  constexpr std::size_t kChain = 32767 / (2 * 127 * kMost) < kWords ? 32767 / (2 * 127 * kMost) : kWords;
  constexpr bool kPairScales = true;
#elif INLAY_DOT4_UNSIGNED
  constexpr std::size_t kChain = kBits <= 4 ? 4 : kWords;
  constexpr bool kPairScales = kBits <= 4;
#else
  constexpr std::size_t kChain = kWords;
  constexpr bool kPairScales = false;
#endif
  static_assert(kWords % kChain == 0);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; i += kChain) {
    PanelTile dots;
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) dots[v][t] = hn::Zero(WordTag());
    }
    AccumulatePanel<INLAY_MADDUBS, kChain>(rows, word + i, values, stride, dots);
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      const Words scales = LoadAlignedWords(rows.Word(rows.panel->scales, v) + scale * kWordBytes);
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) {
        totals[v][t] = kPairScales ? AccumulatePairs(totals[v][t], dots[v][t], scales)
                                   : hn::Add(totals[v][t], hn::Mul(dots[v][t], scales));
        Pin(totals[v][t]);
      }
    }
  }
}

// sums[t * kSumStride + row] += 256 columns of the rows of a register tile times kPanelTokens tokens.
template <WeightType kType, std::size_t kSumStride>
HWY_INLINE void MultiplyPanel256(const PanelRows& rows, const TokenRows& x, float* HWY_RESTRICT sums) {
  constexpr std::size_t kGroupWords = kGroupColumns<kType> / 4;
  const FloatTag df;
  const WordTag di;
  PanelTile totals;
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    const std::uint8_t* corrections = rows.Word(rows.panel->corrections, v);
    [[maybe_unused]] const float* mins = rows.Scale(rows.panel->block_mins, v);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      const std::int16_t* token_sums = x.sums + t * x.sum_stride + kCorrectionSums<kType>;
      Words correction = MultiplyAddPairs(LoadAlignedWords(corrections), BroadcastWord(token_sums));
      HWY_UNROLL(8)
      for (std::size_t i = 1; i < kCorrections<kType>; ++i) {
        correction =
            AccumulatePairs(correction, LoadAlignedWords(corrections + i * kWordBytes), BroadcastWord(token_sums + 2 * i));
        Pin(correction);
      }
      if constexpr (kHasMin<kType>) {
        float* sum = sums + t * kSumStride + v * kWordLanes;
        const Floats scale = hn::Mul(hn::Load(df, mins), hn::Set(df, x.scales[t * x.scale_stride]));
        hn::Store(hn::NegMulAdd(hn::ConvertTo(df, correction), scale, hn::Load(df, sum)), df, sum);
        totals[v][t] = hn::Zero(di);
      } else {
        totals[v][t] = hn::Mul(correction, hn::Set(di, -kByteOffset<kType>));
      }
    }
  }
  for (std::size_t word = 0; word < 64; word += 8) {
    HWY_UNROLL(2)
    for (std::size_t i = 0; i < 8; i += kGroupWords) {
      AccumulateScaledPanel<LevelBits(kType), kGroupWords>(rows, word + i, x.values, x.value_stride,
                                                           (word + i) / kGroupWords, totals);
    }
  }
  HWY_UNROLL(8)
  for (std::size_t v = 0; v < kPanelVectors; ++v) {
    const Floats block_scale = hn::Load(df, rows.Scale(rows.panel->block_scales, v));
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      float* sum = sums + t * kSumStride + v * kWordLanes;
      const Floats scale = hn::Mul(block_scale, hn::Set(df, x.scales[t * x.scale_stride]));
      hn::Store(hn::MulAdd(hn::ConvertTo(df, totals[v][t]), scale, hn::Load(df, sum)), df, sum);
    }
  }
}

// The same with a float scale for each of `blocks` blocks of 32 columns.
template <WeightType kType, std::size_t kSumStride>
HWY_INLINE void MultiplyPanel32(const PanelRows& rows, std::size_t blocks, const TokenRows& x, float* HWY_RESTRICT sums) {
  [[maybe_unused]] constexpr int kBits = LevelBits(kType);
  const FloatTag df;
  const WordTag di;
  for (std::size_t b = 0; b < blocks; ++b) {
    PanelTile dots;
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kPanelTokens; ++t) {
      const Words start = kByteOffset<kType> == 0 ? hn::Zero(di) : hn::Set(di, -kByteOffset<kType> * x.sums[t * x.sum_stride + b]);
      HWY_UNROLL(8)
      for (std::size_t v = 0; v < kPanelVectors; ++v) dots[v][t] = start;
    }
#if INLAY_MADDUBS
    if constexpr (kBits < 8) {
      constexpr std::size_t kChain = kBits <= 4 ? 8 : 4;
      const Words one = hn::Set(di, 0x00010001);
      HWY_UNROLL(2)
      for (std::size_t i = 0; i < 8; i += kChain) {
        PanelTile pairs;
        AccumulatePanel<true, kChain>(rows, 8 * b + i, x.values, x.value_stride, pairs);
        HWY_UNROLL(8)
        for (std::size_t v = 0; v < kPanelVectors; ++v) {
          HWY_UNROLL(8)
          for (std::size_t t = 0; t < kPanelTokens; ++t) {
            dots[v][t] = AccumulatePairs(dots[v][t], pairs[v][t], one);
            Pin(dots[v][t]);
          }
        }
      }
    } else {
      AccumulatePanel<false, 8>(rows, 8 * b, x.values, x.value_stride, dots);
    }
#else
    AccumulatePanel<false, 8>(rows, 8 * b, x.values, x.value_stride, dots);
#endif
    HWY_UNROLL(8)
    for (std::size_t v = 0; v < kPanelVectors; ++v) {
      const Floats block_scale = hn::Load(df, rows.Scale(rows.panel->block_scales, v) + b * kRowTile);
      [[maybe_unused]] const float* mins = rows.Scale(rows.panel->block_mins, v) + b * kRowTile;
      HWY_UNROLL(8)
      for (std::size_t t = 0; t < kPanelTokens; ++t) {
        const float token_scale = x.scales[t * x.scale_stride + b];
        float* to = sums + t * kSumStride + v * kWordLanes;
        Floats sum = hn::MulAdd(hn::ConvertTo(df, dots[v][t]), hn::Mul(block_scale, hn::Set(df, token_scale)), hn::Load(df, to));
        if constexpr (kHasMin<kType>) {
          const float token_sum = static_cast<float>(x.sums[t * x.sum_stride + b]);
          sum = hn::MulAdd(hn::Load(df, mins), hn::Set(df, token_scale * token_sum), sum);
        }
        hn::Store(sum, df, to);
      }
    }
  }
}

// results[t * kPanelTiles * 16 + r] = row r of kPanelTiles row tiles, `tile_bytes` apart, times token t; `tokens` is a
// multiple of kPanelTokens, at most kPanelBlock.
template <WeightType kType>
HWY_NOINLINE void MultiplyPanels(const std::uint8_t* HWY_RESTRICT tiles, std::size_t tile_bytes, std::size_t cols,
                                 const TokenRows& x, std::size_t tokens, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  constexpr std::size_t kStride = kPanelTiles * kRowTile;
  Panel panels[kPanelTiles];
  std::memset(results, 0, tokens * kStride * sizeof(float));
  for (std::size_t col = 0; col < cols; col += 256) {
    const std::size_t blocks = (cols - col < 256 ? cols - col : 256) / kValues;
    for (std::size_t tile = 0; tile < kPanelTiles; ++tile) {
      UnpackPanel<kType>(tiles + tile * tile_bytes + col / kValues * PackedBlockBytes(kType), blocks, panels[tile]);
    }
    for (std::size_t token = 0; token < tokens; token += kPanelTokens) {
      const TokenRows at = x.From(token).template FromBlock<kValues>(col / kValues);
      for (std::size_t lane = 0; lane < kStride; lane += kPanelVectors * kWordLanes) {
        float* sums = results + token * kStride + lane;
        if constexpr (kValues == 32) {
          MultiplyPanel32<kType, kStride>({panels, lane}, blocks, at, sums);
        } else {
          MultiplyPanel256<kType, kStride>({panels, lane}, at, sums);
        }
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/quantized_matmul-inl.hpp

// Matrix products with quantised weights: 16 packed rows times a few tokens of 8-bit activations at a time.
//
// Written once for all formats and targets: a format says how its levels unpack to bytes (UnpackLevels) and which scales
// it has; a target says how bytes multiply (simd-inl.hpp). K-quants stay in integers over their 256 columns: the widening
// step multiplies with the 6- or 8-bit sub-scale, and one convert and multiply-add per 256 columns follows. The integers
// are the same on every target, and float sums run over the blocks of a row in order, whatever the tiling: any split of
// tokens and rows gives the same bits.

#include <cstddef>
#include <cstdint>

#if defined(INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_
#undef INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZED_MATMUL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Tokens that share one unpacking of the weights into registers.
inline constexpr std::size_t kTokenTile = 4;
// From this number of tokens on, unpacking to memory pays.
inline constexpr std::size_t kPanelMinTokens = 2 * kPanelTokens;
#if INLAY_AMX
inline constexpr std::size_t kAmxMinTokens = 24;
static_assert(kAmxMinTokens >= kAmxTokens);
#endif

// sum + scale * (kWords words of levels times as many of activations), exact. Levels have kBits bits, activations are
// -127 .. 127, prepared scales -128 .. 127.
template <int kBits, std::size_t kWords>
HWY_INLINE Words AccumulateScaled(Words sum, const Words* HWY_RESTRICT levels, const std::int8_t* HWY_RESTRICT activations,
                                  Words scale) {
  [[maybe_unused]] constexpr int kMost = (1 << kBits) - 1;
#if INLAY_MADDUBS
  // Products that fit 16 bits together.
  constexpr std::size_t kChain = 32767 / (2 * 127 * kMost) < kWords ? 32767 / (2 * 127 * kMost) : kWords;
  static_assert(kWords % kChain == 0);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; i += kChain) {
    Words pairs = MultiplyBytesToPairs(levels[i], BroadcastWord(activations + 4 * i));
    HWY_UNROLL(8)
    for (std::size_t j = i + 1; j < i + kChain; ++j) {
      pairs = AddPairs(pairs, MultiplyBytesToPairs(levels[j], BroadcastWord(activations + 4 * j)));
      Pin(pairs);
    }
    sum = AccumulatePairs(sum, pairs, scale);
    Pin(sum);
  }
  return sum;
#else
  const WordTag d;
#if INLAY_DOT4_UNSIGNED
  // As long as a sum fits 16 bits, one multiply-add of pairs applies the scale (its upper half is zero), instead of a
  // 32-bit product, which takes two multiplies, and an addition.
  constexpr std::size_t kChain = 32767 / (4 * 127 * kMost);
  if constexpr (kBits <= 4) {
    static_assert(kWords % kChain == 0);
    HWY_UNROLL(8)
    for (std::size_t i = 0; i < kWords; i += kChain) {
      Words dot = hn::Zero(d);
      HWY_UNROLL(8)
      for (std::size_t j = i; j < i + kChain; ++j) {
        dot = AccumulateDot4(dot, levels[j], BroadcastWord(activations + 4 * j));
      }
      sum = AccumulatePairs(sum, dot, scale);
    }
    return sum;
  }
#endif
  Words dot = hn::Zero(d);
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < kWords; ++i) {
    dot = AccumulateDot4(dot, levels[i], BroadcastWord(activations + 4 * i));
    Pin(dot);
  }
  sum = hn::Add(sum, hn::Mul(dot, scale));
  Pin(sum);
  return sum;
#endif
}

// sum + 8 words of levels times 32 activations, exact.
template <int kBits>
HWY_INLINE Words AccumulateDot32(Words sum, const Words* HWY_RESTRICT levels, const std::int8_t* HWY_RESTRICT activations) {
#if INLAY_MADDUBS
  if constexpr (kBits < 8) {
    return AccumulateScaled<kBits, 8>(sum, levels, activations, hn::Set(WordTag(), 0x00010001));
  }
#endif
  HWY_UNROLL(8)
  for (std::size_t i = 0; i < 8; ++i) {
    sum = AccumulateDot4(sum, levels[i], BroadcastWord(activations + 4 * i));
    Pin(sum);
  }
  return sum;
}

// sums[t] += one block of 32 columns times token t. `block` is the packed block, `lane` the first row of the vector.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlock32(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, const TokenRows& x,
                                Floats* HWY_RESTRICT sums) {
  constexpr int kBits = LevelBits(kType);
  const FloatTag df;
  const WordTag di;
  Words levels[8];
  if (lane == 0) PrefetchLevels<kType>(block + PackedHeaderBytes(kType));
  UnpackLevels<kBits>(block + PackedHeaderBytes(kType) + 4 * lane, levels);
  const Floats scale = LoadBlockScale(block, lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    const std::int32_t sum = x.sums[t * x.sum_stride];
    const float token_scale = x.scales[t * x.scale_stride];
    Words dot = hn::Zero(di);
    if constexpr (kByteOffset<kType> != 0) dot = hn::Set(di, -kByteOffset<kType> * sum);
    dot = AccumulateDot32<kBits>(dot, levels, x.values + t * x.value_stride);
    sums[t] = hn::MulAdd(hn::ConvertTo(df, dot), hn::Mul(scale, hn::Set(df, token_scale)), sums[t]);
    if constexpr (kHasMin<kType>) {
      sums[t] = hn::MulAdd(LoadBlockMin(block, lane), hn::Set(df, token_scale * static_cast<float>(sum)), sums[t]);
    }
  }
}

// sums[t] += one block of 256 columns times token t.
template <WeightType kType, std::size_t kTokens>
HWY_INLINE void MultiplyBlock256(const std::uint8_t* HWY_RESTRICT block, std::size_t lane, const TokenRows& x,
                                 Floats* HWY_RESTRICT sums) {
  constexpr int kBits = LevelBits(kType);
  constexpr std::size_t kGroupWords = kGroupColumns<kType> / 4;
  const FloatTag df;
  const WordTag di;
  // In memory, so that the loop over groups need not be unrolled.
  Words scales[256 / kGroupColumns<kType>];
  Words corrections[kCorrections<kType>];
  LoadGroupScales<kType>(block, lane, scales, corrections);
  Words totals[kTokens];
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    const std::int16_t* token_sums = x.sums + t * x.sum_stride + kCorrectionSums<kType>;
    Words correction = MultiplyAddPairs(corrections[0], BroadcastWord(token_sums));
    HWY_UNROLL(8)
    for (std::size_t i = 1; i < kCorrections<kType>; ++i) {
      correction = AccumulatePairs(correction, corrections[i], BroadcastWord(token_sums + 2 * i));
    }
    if constexpr (kHasMin<kType>) {
      const Floats scale = hn::Mul(LoadBlockMin(block, lane), hn::Set(df, x.scales[t * x.scale_stride]));
      sums[t] = hn::NegMulAdd(hn::ConvertTo(df, correction), scale, sums[t]);
      totals[t] = hn::Zero(di);
    } else {
      totals[t] = hn::Mul(correction, hn::Set(di, -kByteOffset<kType>));
    }
  }
  for (std::size_t i = 0; i < 8; ++i) {
    const std::uint8_t* packed = block + PackedHeaderBytes(kType) + i * PackedLevelBytes(kType);
    if (lane == 0) PrefetchLevels<kType>(packed);
    Words levels[8];
    UnpackLevels<kBits>(packed + 4 * lane, levels);
    HWY_UNROLL(8)
    for (std::size_t t = 0; t < kTokens; ++t) {
      HWY_UNROLL(2)
      for (std::size_t word = 0; word < 8; word += kGroupWords) {
        totals[t] = AccumulateScaled<kBits, kGroupWords>(totals[t], levels + word,
                                                         x.values + t * x.value_stride + 32 * i + 4 * word,
                                                         scales[(8 * i + word) / kGroupWords]);
      }
    }
  }
  const Floats scale = LoadBlockScale(block, lane);
  HWY_UNROLL(8)
  for (std::size_t t = 0; t < kTokens; ++t) {
    sums[t] = hn::MulAdd(hn::ConvertTo(df, totals[t]), hn::Mul(scale, hn::Set(df, x.scales[t * x.scale_stride])), sums[t]);
  }
}

// results[t * 16 + r] = row r of one tile times token t.
template <WeightType kType, std::size_t kTokens, Extent Cols>
HWY_NOINLINE void MultiplyTile(const std::uint8_t* HWY_RESTRICT tile, Cols cols, TokenRows x, float* HWY_RESTRICT results) {
  constexpr std::size_t kValues = Info(kType).block_values;
  const FloatTag df;
  // All rows of a block before the next block, so that the tile is read from memory once and in order.
  Floats sums[kRowTile / kWordLanes][kTokens];
  for (auto& vector : sums) {
    for (Floats& sum : vector) sum = hn::Zero(df);
  }
  TokenRows at = x;
  for (std::size_t b = 0; b < cols / kValues; ++b) {
    const std::uint8_t* block = tile + b * PackedBlockBytes(kType);
    for (std::size_t v = 0; v < kRowTile / kWordLanes; ++v) {
      if constexpr (kValues == 32) {
        MultiplyBlock32<kType, kTokens>(block, v * kWordLanes, at, sums[v]);
      } else {
        MultiplyBlock256<kType, kTokens>(block, v * kWordLanes, at, sums[v]);
      }
    }
    at = at.template FromBlock<kValues>(1);
  }
  for (std::size_t v = 0; v < kRowTile / kWordLanes; ++v) {
    for (std::size_t t = 0; t < kTokens; ++t) hn::StoreU(sums[v][t], df, results + t * kRowTile + v * kWordLanes);
  }
}

// Stores or adds the results of `tokens` tokens, `stride` (a multiple of 16) apart; `rows` of them exist.
inline HWY_NOINLINE void StoreResults(const float* HWY_RESTRICT results, std::size_t stride, std::size_t tokens, std::size_t rows,
                               const Output& out, std::size_t token, std::size_t row) {
  const FloatTag df;
  const std::size_t whole = rows / kWordLanes * kWordLanes;
  for (std::size_t t = 0; t < tokens; ++t) {
    float* HWY_RESTRICT to = out.data + (token + t) * out.stride + row;
    const float* HWY_RESTRICT from = results + t * stride;
    if (out.accumulate) {
      for (std::size_t r = 0; r < whole; r += kWordLanes) {
        hn::StoreU(hn::Add(hn::LoadU(df, to + r), hn::Load(df, from + r)), df, to + r);
      }
      for (std::size_t r = whole; r < rows; ++r) to[r] += from[r];
    } else {
      for (std::size_t r = 0; r < whole; r += kWordLanes) hn::StoreU(hn::Load(df, from + r), df, to + r);
      for (std::size_t r = whole; r < rows; ++r) to[r] = from[r];
    }
  }
}

// A few tokens, one row tile at a time: the tile's weights come from memory once.
template <WeightType kType, Extent Cols>
void MultiplyTiles(const std::uint8_t* packed, std::size_t rows, Cols cols, const TokenRows& x, std::size_t token_begin,
                   std::size_t token_end, std::size_t row_begin, std::size_t row_end, const Output& out) {
  alignas(64) float results[kTokenTile * kRowTile];
  for (std::size_t row = row_begin; row < row_end; row += kRowTile) {
    const std::uint8_t* tile = packed + row / kRowTile * PackedTileBytes(kType, cols);
    for (std::size_t token = token_begin; token < token_end;) {
      const std::size_t left = token_end - token;
      const TokenRows at = x.From(token);
      std::size_t tokens = 1;
      if (left >= kTokenTile) {
        MultiplyTile<kType, kTokenTile>(tile, cols, at, results);
        tokens = kTokenTile;
      } else if (left >= 2) {
        MultiplyTile<kType, 2>(tile, cols, at, results);
        tokens = 2;
      } else {
        MultiplyTile<kType, 1>(tile, cols, at, results);
      }
      StoreResults(results, kRowTile, tokens, rows - row < kRowTile ? rows - row : kRowTile, out, token, row);
      token += tokens;
    }
  }
}

// Many tokens. Needs 24 KiB of stack.
template <WeightType kType>
HWY_NOINLINE void MultiplyWithPanels(const std::uint8_t* packed, std::size_t rows, std::size_t cols, const TokenRows& x,
                                     std::size_t token_begin, std::size_t token_end, std::size_t row_begin,
                                     std::size_t row_end, const Output& out) {
  constexpr std::size_t kPanelRows = kPanelTiles * kRowTile;
  // Whole register tiles of tokens go through panels, what is left through the other kernel.
  const std::size_t panel_end = token_end - (token_end - token_begin) % kPanelTokens;
  alignas(64) float results[kPanelBlock * kPanelRows];
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  for (std::size_t row = row_begin; row < row_end; row += kPanelRows) {
    const std::size_t row_stop = row_end - row < kPanelRows ? row_end : row + kPanelRows;
    const std::uint8_t* tile = packed + row / kRowTile * tile_bytes;
    // Where the last row tile has no neighbour, it is its own: the second half of the results is not stored.
    const std::size_t next = row + kRowTile < rows ? tile_bytes : 0;
    for (std::size_t token = token_begin; token < panel_end; token += kPanelBlock) {
      const std::size_t tokens = panel_end - token < kPanelBlock ? panel_end - token : kPanelBlock;
      MultiplyPanels<kType>(tile, next, cols, x.From(token), tokens, results);
      StoreResults(results, kPanelRows, tokens, row_stop - row, out, token, row);
    }
  }
  MultiplyTiles<kType>(packed, rows, DynamicExtent{cols}, x, panel_end, token_end, row_begin, row_end, out);
}

#if INLAY_AMX
// Many tokens, at least kAmxTokens. Needs 46 KiB of stack.
template <WeightType kType>
HWY_NOINLINE void MultiplyWithAmx(const std::uint8_t* packed, std::size_t rows, std::size_t cols, const TokenRows& x,
                                  std::size_t token_begin, std::size_t token_end, std::size_t row_begin,
                                  std::size_t row_end, const Output& out) {
  alignas(64) float results[kAmxBlock * kAmxRows];
  const std::size_t tile_bytes = PackedTileBytes(kType, cols);
  const std::size_t tokens = token_end - token_begin;
  // Blocks of the same size, in tiles of tokens.
  const std::size_t token_tiles = DivideUp(tokens, kAmxTokens);
  const std::size_t block_tiles = DivideUp(token_tiles, DivideUp(tokens, kAmxBlock));
  ConfigureTiles<Info(kType).block_values == 32 ? 32 : 64>();
  for (std::size_t row = row_begin; row < row_end; row += kAmxRows) {
    const std::size_t row_stop = row_end - row < kAmxRows ? row_end : row + kAmxRows;
    const std::uint8_t* tile = packed + row / kRowTile * tile_bytes;
    // Where the last row tile has no neighbour, it is its own: the second half of the results is not stored.
    const std::size_t next = row + kRowTile < rows ? tile_bytes : 0;
    for (std::size_t first = 0; first < token_tiles; first += block_tiles) {
      const std::size_t tiles = token_tiles - first < block_tiles ? token_tiles - first : block_tiles;
      // The last tile of tokens moves back to end with the last token; what it computes again is not stored again.
      const auto start = [=](std::size_t t) HWY_ATTR {
        const std::size_t token = (first + t) * kAmxTokens;
        return token + kAmxTokens <= tokens ? token : tokens - kAmxTokens;
      };
      MultiplyAmx<kType>(tile, next, cols, x.From(token_begin), tiles, start, results);
      for (std::size_t t = 0; t < tiles; ++t) {
        const std::size_t skip = (first + t) * kAmxTokens - start(t);
        StoreResults(results + (t * kAmxTokens + skip) * kAmxRows, kAmxRows, kAmxTokens - skip, row_stop - row, out,
                     token_begin + start(t) + skip, row);
      }
    }
  }
  _tile_release();
}
#endif  // INLAY_AMX

// MatMul (matmul-inl.hpp) for one quantised type.
template <WeightType kType, Extent Cols>
void MatMulQuantized(const std::byte* packed_bytes, std::size_t rows, Cols cols, const Activations& activations,
                     std::size_t token_begin, std::size_t token_end, std::size_t row_begin, std::size_t row_end,
                     const Output& out) {
  const auto* packed = reinterpret_cast<const std::uint8_t*>(packed_bytes);
  const TokenRows x(Info(kType).block_values == 32 ? activations.block32 : activations.block256);
  const std::size_t tokens = token_end - token_begin;
#if INLAY_AMX
  if (tokens >= kAmxMinTokens && AmxPermitted()) {
    MultiplyWithAmx<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
    return;
  }
#endif
  if (tokens >= kPanelMinTokens) {
    MultiplyWithPanels<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
  } else {
    MultiplyTiles<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/matmul-inl.hpp

// The matrix product of packed weights of any type with activations: one switch per product, over the types compiled in.

#include <cstddef>

#if defined(INLAY_KERNELS_MATMUL_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_MATMUL_INL_HPP_
#undef INLAY_KERNELS_MATMUL_INL_HPP_
#else
#define INLAY_KERNELS_MATMUL_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// out.data[token * out.stride + row] (=|+=) dot(weights[row], x[token]) for tokens [token_begin, token_end) and rows
// [row_begin, row_end).
//   type       one of FormatList's, whose form of the activations (ActivationKindOf) has been filled by QuantizeRows
//   packed     the whole matrix of [rows, cols] as PackTile leaves it, at a multiple of 64
//   row_begin  a multiple of 16; row_end too, or it is `rows`. Rows beyond `rows` are neither read from `out` nor written
// Any split of tokens and rows over calls and threads gives the same bits.
template <class FormatList, Extent Cols>
void MatMul(WeightType type, const std::byte* packed, std::size_t rows, Cols cols, const Activations& x,
            std::size_t token_begin, std::size_t token_end, std::size_t row_begin, std::size_t row_end,
            const Output& out) {
  const auto multiply = [&]<WeightType kType>() HWY_ATTR {
    if constexpr (!FormatList::Contains(kType)) {
      INLAY_ASSERT(false);
    } else if constexpr (Info(kType).block_values == 1) {
      MatMulFloat<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
    } else {
      MatMulQuantized<kType>(packed, rows, cols, x, token_begin, token_end, row_begin, row_end, out);
    }
  };
  switch (type) {
    case WeightType::kF32: return multiply.template operator()<WeightType::kF32>();
    case WeightType::kF16: return multiply.template operator()<WeightType::kF16>();
    case WeightType::kBF16: return multiply.template operator()<WeightType::kBF16>();
    case WeightType::kQ8_0: return multiply.template operator()<WeightType::kQ8_0>();
    case WeightType::kQ4_0: return multiply.template operator()<WeightType::kQ4_0>();
    case WeightType::kQ4_1: return multiply.template operator()<WeightType::kQ4_1>();
    case WeightType::kQ5_0: return multiply.template operator()<WeightType::kQ5_0>();
    case WeightType::kQ5_1: return multiply.template operator()<WeightType::kQ5_1>();
    case WeightType::kQ4_K: return multiply.template operator()<WeightType::kQ4_K>();
    case WeightType::kQ5_K: return multiply.template operator()<WeightType::kQ5_K>();
    case WeightType::kQ6_K: return multiply.template operator()<WeightType::kQ6_K>();
    case WeightType::kI8: break;  // raw bytes, not a weight matrix
  }
  INLAY_ASSERT(false);
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/kernels/quantize-inl.hpp

// Activations from float32 to the 8-bit forms that quantised weights multiply with. Once per matrix input, so that all
// matrices and threads share the result.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(INLAY_KERNELS_QUANTIZE_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_KERNELS_QUANTIZE_INL_HPP_
#undef INLAY_KERNELS_QUANTIZE_INL_HPP_
#else
#define INLAY_KERNELS_QUANTIZE_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// The largest magnitude of `count` (a multiple of 16) values. Compared as integers: a NaN is larger than any number, so
// it comes through and makes the block's scale, and with it every product, a NaN.
HWY_INLINE float LargestMagnitude(const float* HWY_RESTRICT x, std::size_t count) {
  const FloatTag df;
  const WordTag di;
  const Words magnitude = hn::Set(di, 0x7FFFFFFF);
  Words most = hn::Zero(di);
  for (std::size_t i = 0; i < count; i += kWordLanes) {
    most = hn::Max(most, hn::And(hn::BitCast(di, hn::LoadU(df, x + i)), magnitude));
  }
  return hn::GetLane(hn::BitCast(df, hn::MaxOfLanes(di, most)));
}

// out = x * inverse, rounded to nearest even, saturated to int8; 16 values. Returns their sum.
HWY_INLINE std::int32_t Quantize16(const float* HWY_RESTRICT x, float inverse, std::int8_t* HWY_RESTRICT out) {
  const FloatTag df;
  const WordTag di;
  const hn::Rebind<std::int8_t, WordTag> d8;
  const Floats scale = hn::Set(df, inverse);
  Words sum = hn::Zero(di);
  HWY_UNROLL(16)
  for (std::size_t i = 0; i < 16; i += kWordLanes) {
    const Words level = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), scale));
    hn::StoreU(hn::DemoteTo(d8, level), d8, out + i);
    sum = hn::Add(sum, level);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

// One block of kValues (32 or 256) values: int8 = round(value / scale), scale = largest magnitude / 127. A block without a
// value above 2^-100 becomes zeros (the inverse of its scale could overflow); a block with a NaN or infinity becomes zeros
// with that as scale, so that its products are NaN.
template <std::size_t kValues>
HWY_INLINE void QuantizeBlock(const float* HWY_RESTRICT x, std::int8_t* HWY_RESTRICT out, float* HWY_RESTRICT scale,
                              std::int16_t* HWY_RESTRICT sums) {
  const float most = LargestMagnitude(x, kValues);
  if (HWY_UNLIKELY(!(most >= 0x1p-100f && most <= std::numeric_limits<float>::max()))) {
    *scale = most < 1.0f ? 0.0f : most;
    std::memset(out, 0, kValues);
    std::memset(sums, 0, (kValues == 256 ? 24 : 1) * sizeof(*sums));
    return;
  }
  const float inverse = 127.0f / most;
  *scale = most / 127.0f;
  for (std::size_t i = 0; i < kValues; i += 32) {
    const std::int32_t first = Quantize16(x + i, inverse, out + i);
    const std::int32_t second = Quantize16(x + i + 16, inverse, out + i + 16);
    if constexpr (kValues == 256) {
      sums[i / 16] = static_cast<std::int16_t>(first);
      sums[i / 16 + 1] = static_cast<std::int16_t>(second);
      sums[16 + i / 32] = static_cast<std::int16_t>(first + second);
    } else {
      *sums = static_cast<std::int16_t>(first + second);
    }
  }
}

// Fills the forms in `kinds` of tokens [token_begin, token_end) from x.values; kActivationFloat needs nothing. cols is a
// multiple of the forms' block sizes. Every token depends on its own values only. Cost: about 1 ns per 8 values.
inline HWY_NOINLINE void QuantizeRows(ActivationKinds kinds, std::size_t cols, std::size_t token_begin,
                                      std::size_t token_end, const Activations& x) {
  for (std::size_t t = token_begin; t < token_end; ++t) {
    const float* values = x.values + t * x.stride;
    if ((kinds & kActivationBlock32) != 0) {
      INLAY_ASSERT(cols % 32 == 0);
      const QuantizedRows& rows = x.block32;
      for (std::size_t b = 0; b < cols / 32; ++b) {
        QuantizeBlock<32>(values + 32 * b, rows.values + t * rows.value_stride + 32 * b,
                          rows.scales + t * rows.scale_stride + b, rows.sums + t * rows.sum_stride + b);
      }
    }
    if ((kinds & kActivationBlock256) != 0) {
      INLAY_ASSERT(cols % 256 == 0);
      const QuantizedRows& rows = x.block256;
      for (std::size_t b = 0; b < cols / 256; ++b) {
        QuantizeBlock<256>(values + 256 * b, rows.values + t * rows.value_stride + 256 * b,
                           rows.scales + t * rows.scale_stride + b, rows.sums + t * rows.sum_stride + 24 * b);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // toggle guard

// --- inlay/layers/linear-inl.hpp

// Matrix products of a layer: normalise and quantise the input once, then cut the matrix's rows over the threads.

#include <array>
#include <cstddef>

#if defined(INLAY_LAYERS_LINEAR_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_LINEAR_INL_HPP_
#undef INLAY_LAYERS_LINEAR_INL_HPP_
#else
#define INLAY_LAYERS_LINEAR_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// The input representations that a group of matrices multiplies with.
template <class... Matrices>
HWY_INLINE ActivationKinds KindsFor(const Matrices&... matrices) {
  return static_cast<ActivationKinds>((ActivationKindOf(matrices.type) | ...));
}

// out = RMSNorm(x) * weight, in the representations that `kinds` names.  x: [tokens, cols], rows `cols` apart.
template <Extent Cols>
HWY_INLINE void NormalizeRows(const float* x, const float* weight, float epsilon, Cols cols, std::size_t tokens,
                              ActivationKinds kinds, const Activations& out, ExecutorRef executor) {
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    for (std::size_t t = begin; t < end; ++t) RmsNorm(x + t * cols, weight, cols, epsilon, out.values + t * out.stride);
    QuantizeRows(kinds, cols, begin, end, out);
  });
}

// The quantised forms of activations whose values another step has left in place.
HWY_INLINE void QuantizeForProduct(ActivationKinds kinds, std::size_t cols, std::size_t tokens, const Activations& x,
                                   ExecutorRef executor) {
  if ((kinds & ~kActivationFloat) == 0) return;
  ForTokenRanges(executor, tokens, [&](std::size_t begin, std::size_t end) HWY_ATTR {
    QuantizeRows(kinds, cols, begin, end, x);
  });
}

// out (=|+=) x * matrix^T for all tokens.  x: [tokens, cols], matrix: [rows, cols], out: [tokens, rows].
template <class FormatList, Extent Cols>
HWY_INLINE void Multiply(WeightType type, const std::byte* matrix, std::size_t rows, Cols cols, const Activations& x,
                         std::size_t tokens, const Output& out, ExecutorRef executor) {
  ForRowRanges(executor, std::array{rows}, kRowTile, rows * cols * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 MatMul<FormatList>(type, matrix, rows, cols, x, 0, tokens, begin, end, out);
               });
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_LINEAR_INL_HPP_

// --- inlay/layers/attention-inl.hpp

// Attention of one layer: query, key and value projections with rotary positions, the cache, the mixing of values, and
// the output projection.

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <span>

#if defined(INLAY_LAYERS_ATTENTION_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_ATTENTION_INL_HPP_
#undef INLAY_LAYERS_ATTENTION_INL_HPP_
#else
#define INLAY_LAYERS_ATTENTION_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// Calls f.template operator()<kType>() for the cache's element type, which is one of KvList's.
template <class KvList, class F>
HWY_INLINE void ForKvType(KvType type, F&& f) {
  const auto call = [&]<KvType kType>() HWY_ATTR {
    if constexpr (KvList::Contains(kType)) f.template operator()<kType>();
  };
  switch (type) {
    case KvType::kF32: return call.template operator()<KvType::kF32>();
    case KvType::kF16: return call.template operator()<KvType::kF16>();
    case KvType::kBF16: return call.template operator()<KvType::kBF16>();
    case KvType::kQ8: return call.template operator()<KvType::kQ8>();
  }
}

// Rotates heads [head_begin, head_end) of every token's row.  rows: [tokens, row_stride]
HWY_INLINE void RotateHeads(const ModelConfig& config, const Scratch& scratch, std::size_t tokens, float* rows,
                            std::size_t row_stride, std::size_t head_begin, std::size_t head_end) {
  for (std::size_t t = 0; t < tokens; ++t) {
    const float* turns = scratch.rotations + t * config.rope_dim;
    for (std::size_t h = head_begin; h < head_end; ++h) {
      RotatePairs(turns, config.rope_dim / 2, rows + t * row_stride + h * config.head_dim);
    }
  }
}

// Stores heads [head_begin, head_end) of the new keys (or values) of all sequences in their caches.
template <bool kKeys, class KvList, class Spec>
HWY_INLINE void StoreHeads(const Spec& spec, std::size_t layer, std::span<const SequenceInput> sequences,
                           const float* rows, std::size_t head_begin, std::size_t head_end) {
  const std::size_t head_dim = spec.config().head_dim, stride = spec.config().kv_dim();
  for (const SequenceInput& sequence : sequences) {
    const KvLayer cache = sequence.cache->layer(layer);
    const std::size_t start = sequence.cache->length();
    ForKvType<KvList>(cache.type, [&]<KvType kType>() HWY_ATTR {
      for (std::size_t t = 0; t < sequence.tokens.size(); ++t) {
        for (std::size_t h = head_begin; h < head_end; ++h) {
          const float* from = rows + t * stride + h * head_dim;
          if constexpr (kKeys) {
            StoreKey<kType>(cache.keys(h), spec.head_dim(), cache.capacity, start + t, from);
          } else {
            StoreValue<kType>(cache.values(h), spec.head_dim(), cache.capacity, start + t, from);
          }
        }
      }
    });
    rows += sequence.tokens.size() * stride;
  }
}

// query = rotate(Wq h), and cache keys and values rotate(Wk h) and Wv h, with h = RMSNorm(residual). One task computes
// whole heads, so it rotates and stores them while they are in its cache.
template <class FormatList, class KvList, class Spec>
HWY_INLINE void ProjectQueryKeyValue(const Spec& spec, const LayerWeights& weights, std::size_t layer,
                                     std::span<const SequenceInput> sequences, std::size_t tokens,
                                     const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t q_dim = config.q_dim(), kv_dim = config.kv_dim(), head_dim = config.head_dim;
  const Activations& input = scratch.normalized;
  NormalizeRows(scratch.residual, weights.attention_norm, config.norm_epsilon, spec.dim(), tokens,
                KindsFor(weights.query, weights.key, weights.value), input, executor);
  const auto project = [&](const PackedMatrix& matrix, std::size_t rows, std::size_t begin, std::size_t end,
                           float* out) HWY_ATTR {
    MatMul<FormatList>(matrix.type, matrix.data, rows, spec.dim(), input, 0, tokens, begin, end,
                       Output{out, rows, false});
  };
  ForRowRanges(executor, std::array{q_dim, kv_dim, kv_dim}, HeadUnit(head_dim), (q_dim + 2 * kv_dim) * config.dim * tokens,
               [&](std::size_t part, std::size_t begin, std::size_t end) HWY_ATTR {
                 const std::size_t head_begin = begin / head_dim, head_end = end / head_dim;
                 if (part == 0) {
                   project(weights.query, q_dim, begin, end, scratch.query);
                   RotateHeads(config, scratch, tokens, scratch.query, q_dim, head_begin, head_end);
                 } else if (part == 1) {
                   project(weights.key, kv_dim, begin, end, scratch.key);
                   RotateHeads(config, scratch, tokens, scratch.key, kv_dim, head_begin, head_end);
                   StoreHeads<true, KvList>(spec, layer, sequences, scratch.key, head_begin, head_end);
                 } else {
                   project(weights.value, kv_dim, begin, end, scratch.value);
                   StoreHeads<false, KvList>(spec, layer, sequences, scratch.value, head_begin, head_end);
                 }
               });
}

// Runs f(item, slot) for every item. At most scratch.shape.threads calls run at once, each with a slot of its own.
template <class F>
HWY_INLINE void ForAttentionItems(const Scratch& scratch, std::size_t items, bool serial, ExecutorRef executor, F&& f) {
  const std::size_t slots = serial ? 1 : std::min({items, scratch.shape.threads, executor.concurrency()});
  std::atomic<std::size_t> next{0};
  executor.Run(slots, [&](std::size_t slot) HWY_ATTR {
    for (std::size_t i = next.fetch_add(1, std::memory_order_relaxed); i < items;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      f(i, scratch.attention + slot * AttentionScratchFloats(scratch.head_dim));
    }
  });
}

// mixed = attention(query, cache) for the new tokens of one sequence, whose first row is `row`. Work is cut by key/value
// head and by blocks of tokens; for one token in a long context, by spans of the context.
template <KvType kType, class Spec>
HWY_NOINLINE void AttendSequence(const Spec& spec, std::size_t layer, const SequenceInput& sequence, std::size_t row,
                                 const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const KvLayer cache = sequence.cache->layer(layer);
  const std::size_t head_dim = config.head_dim, kv_heads = config.kv_heads, tokens = sequence.tokens.size();
  const std::size_t position = sequence.cache->length();
  AttentionShape shape;
  shape.group = config.group();
  shape.capacity = cache.capacity;
  shape.window = config.window;
  shape.scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  const float* queries = scratch.query + row * config.q_dim();
  float* out = scratch.mixed.values + row * scratch.mixed.stride;
  const std::size_t head_stride = shape.group * head_dim;

  const std::size_t macs = 2 * tokens * config.q_dim() * (position + tokens - shape.First(position));
  const bool serial = macs < kSerialMacs;
  const SpanRange spans = AttentionSpans(shape, position);
  if (tokens == 1 && spans.size() > 1 && !serial) {
    const std::size_t head_partials = AttentionPartialFloats(head_dim, shape.group, spans.size());
    const std::size_t span_partials = AttentionPartialFloats(head_dim, shape.group, 1);
    ForAttentionItems(scratch, kv_heads * spans.size(), serial, executor, [&](std::size_t item, float* memory) HWY_ATTR {
      const std::size_t head = item / spans.size(), span = item % spans.size();
      AttendSpan<kType>(shape, cache.keys(head), cache.values(head), spec.head_dim(), queries + head * head_stride,
                        position, spans.begin + span,
                        scratch.partials + head * head_partials + span * span_partials, memory);
    });
    for (std::size_t head = 0; head < kv_heads; ++head) {
      MergeSpans(shape, head_dim, spans.size(), scratch.partials + head * head_partials, out + head * head_stride);
    }
    return;
  }
  // About as many queries as keep a task busy for some 50 us at short contexts.
  const std::size_t block = std::max<std::size_t>(1, 96 / shape.group);
  const std::size_t blocks = DivideUp(tokens, block);
  ForAttentionItems(scratch, kv_heads * blocks, serial, executor, [&](std::size_t item, float* memory) HWY_ATTR {
    const std::size_t head = item % kv_heads, begin = item / kv_heads * block;
    AttendTokens<kType>(shape, cache.keys(head), cache.values(head), spec.head_dim(), queries + head * head_stride,
                        config.q_dim(), position, begin, std::min(tokens, begin + block), out + head * head_stride,
                        scratch.mixed.stride, memory);
  });
}

template <class KvList, class Spec>
HWY_INLINE void Attend(const Spec& spec, std::size_t layer, std::span<const SequenceInput> sequences,
                       const Scratch& scratch, ExecutorRef executor) {
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    if (sequence.tokens.empty()) continue;
    ForKvType<KvList>(sequence.cache->type(), [&]<KvType kType>() HWY_ATTR {
      AttendSequence<kType>(spec, layer, sequence, row, scratch, executor);
    });
    row += sequence.tokens.size();
  }
}

// residual += Wo mixed.
template <class FormatList, class Spec>
HWY_INLINE void AddAttentionOutput(const Spec& spec, const LayerWeights& weights, std::size_t tokens,
                                   const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  QuantizeForProduct(KindsFor(weights.attention_output), config.q_dim(), tokens, scratch.mixed, executor);
  Multiply<FormatList>(weights.attention_output.type, weights.attention_output.data, config.dim, spec.q_dim(),
                       scratch.mixed, tokens, Output{scratch.residual, config.dim, true}, executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_ATTENTION_INL_HPP_

// --- inlay/layers/feed_forward-inl.hpp

// The feed-forward network: x += down(silu(gate(h)) * up(h)), dense or as a mixture of experts.
//
// Experts (Mixtral, arXiv:2401.04088): a router scores the experts of each token; the best experts_per_token are run and
// weighted by the softmax over their scores. Tokens are gathered by expert, so each expert's matrices are read once per
// pass, and only those of experts that some token chose. A token's experts are added in ascending order, so the result
// does not depend on which other tokens are in the pass.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#if defined(INLAY_LAYERS_FEED_FORWARD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_LAYERS_FEED_FORWARD_INL_HPP_
#undef INLAY_LAYERS_FEED_FORWARD_INL_HPP_
#else
#define INLAY_LAYERS_FEED_FORWARD_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// One network: out (=|+=) down(silu(gate(x)) * up(x)).  x: [tokens, dim] in all needed representations.
// `expert` picks the matrices where there are several.
template <class FormatList, class Spec>
HWY_INLINE void RunNetwork(const Spec& spec, const LayerWeights& layer, std::size_t expert, const Activations& x,
                           std::size_t tokens, const Scratch& scratch, const Output& out, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t ffn_dim = config.ffn_dim;
  const Activations& hidden = scratch.hidden;
  // Gate and up of the same rows are computed by the same task, so that both are in its cache when they are joined.
  ForRowRanges(executor, std::array{ffn_dim}, kRowTile, 2 * ffn_dim * config.dim * tokens,
               [&](std::size_t, std::size_t begin, std::size_t end) HWY_ATTR {
                 MatMul<FormatList>(layer.gate.type, layer.gate.expert(expert), ffn_dim, spec.dim(), x, 0, tokens, begin,
                                    end, Output{hidden.values, hidden.stride, false});
                 MatMul<FormatList>(layer.up.type, layer.up.expert(expert), ffn_dim, spec.dim(), x, 0, tokens, begin, end,
                                    Output{scratch.up, ffn_dim, false});
                 for (std::size_t t = 0; t < tokens; ++t) {
                   float* gate = hidden.values + t * hidden.stride + begin;
                   SiluMultiply(gate, scratch.up + t * ffn_dim + begin, end - begin, gate);
                 }
               });
  QuantizeForProduct(KindsFor(layer.down), ffn_dim, tokens, hidden, executor);
  Multiply<FormatList>(layer.down.type, layer.down.expert(expert), config.dim, spec.ffn_dim(), hidden, tokens, out,
                       executor);
}

// Picks the experts of one token: the best scores (the lower index wins a tie), in ascending order of index, with the
// softmax over the chosen scores as weights.
inline void ChooseExperts(const float* scores, std::size_t experts, std::size_t count, std::uint32_t* chosen,
                          float* weights) {
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t best = experts;
    for (std::size_t e = 0; e < experts; ++e) {
      const bool taken = std::find(chosen, chosen + i, static_cast<std::uint32_t>(e)) != chosen + i;
      if (!taken && (best == experts || scores[e] > scores[best])) best = e;
    }
    chosen[i] = static_cast<std::uint32_t>(best);
  }
  std::sort(chosen, chosen + count);
  for (std::size_t i = 0; i < count; ++i) weights[i] = scores[chosen[i]];
  Softmax(weights, count);
}

template <class FormatList, class Spec>
HWY_NOINLINE void RunExperts(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const Scratch& scratch,
                             ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const ExpertScratch& experts = scratch.experts;
  const std::size_t dim = config.dim, count = config.experts, used = config.experts_per_token;
  Multiply<FormatList>(layer.router.type, layer.router.data, count, spec.dim(), scratch.normalized, tokens,
                       Output{experts.scores, count, false}, executor);
  for (std::size_t t = 0; t < tokens; ++t) {
    ChooseExperts(experts.scores + t * count, count, used, experts.chosen + t * used, experts.weights + t * used);
  }
  const ActivationKinds kinds = KindsFor(layer.gate, layer.up);
  for (std::size_t e = 0; e < count; ++e) {
    std::size_t members = 0;
    for (std::size_t t = 0; t < tokens; ++t) {
      for (std::size_t i = t * used; i < (t + 1) * used; ++i) {
        if (experts.chosen[i] != e) continue;
        experts.members[members] = static_cast<std::uint32_t>(t);
        experts.member_weights[members++] = experts.weights[i];
      }
    }
    if (members == 0) continue;
    for (std::size_t m = 0; m < members; ++m) {
      const float* from = scratch.normalized.values + experts.members[m] * scratch.normalized.stride;
      std::copy(from, from + dim, experts.input.values + m * experts.input.stride);
    }
    QuantizeForProduct(kinds, dim, members, experts.input, executor);
    RunNetwork<FormatList>(spec, layer, e, experts.input, members, scratch, Output{experts.output, dim, false}, executor);
    for (std::size_t m = 0; m < members; ++m) {
      const float* from = experts.output + m * dim;
      float* to = scratch.residual + experts.members[m] * dim;
      for (std::size_t i = 0; i < dim; ++i) to[i] += experts.member_weights[m] * from[i];
    }
  }
}

// residual += network(RMSNorm(residual)).
template <class FormatList, class Spec>
HWY_INLINE void AddFeedForward(const Spec& spec, const LayerWeights& layer, std::size_t tokens, const Scratch& scratch,
                               ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  ActivationKinds kinds = KindsFor(layer.gate, layer.up);
  if (config.experts != 0) kinds |= KindsFor(layer.router);
  NormalizeRows(scratch.residual, layer.ffn_norm, config.norm_epsilon, spec.dim(), tokens, kinds, scratch.normalized,
                executor);
  if (config.experts != 0) {
    RunExperts<FormatList>(spec, layer, tokens, scratch, executor);
  } else {
    RunNetwork<FormatList>(spec, layer, 0, scratch.normalized, tokens, scratch,
                           Output{scratch.residual, config.dim, true}, executor);
  }
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_LAYERS_FEED_FORWARD_INL_HPP_

// --- inlay/model/forward-inl.hpp

// The forward pass: tokens in, logits out. Reads top to bottom as the model computes.

#include <algorithm>
#include <cstddef>
#include <span>

#if defined(INLAY_MODEL_FORWARD_INL_HPP_) == defined(HWY_TARGET_TOGGLE)
#ifdef INLAY_MODEL_FORWARD_INL_HPP_
#undef INLAY_MODEL_FORWARD_INL_HPP_
#else
#define INLAY_MODEL_FORWARD_INL_HPP_
#endif

HWY_BEFORE_NAMESPACE();
namespace inlay {
inline namespace INLAY_ABI_NAMESPACE {
namespace HWY_NAMESPACE {

// residual[t] = row of the embedding table; rotations[t] = cos and sin of the token's position.
template <class FormatList, class Spec>
HWY_INLINE void EmbedTokens(const Spec& spec, const ModelWeights& weights, std::span<const SequenceInput> sequences,
                            const Scratch& scratch, ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  std::size_t row = 0;
  for (const SequenceInput& sequence : sequences) {
    const std::size_t position = sequence.cache->length();
    ForTokenRanges(executor, sequence.tokens.size(), [&](std::size_t begin, std::size_t end) HWY_ATTR {
      for (std::size_t t = begin; t < end; ++t) {
        UnpackRow<FormatList>(weights.token_embedding.type, weights.token_embedding.data, config.dim,
                  static_cast<std::size_t>(sequence.tokens[t]), scratch.residual + (row + t) * config.dim);
        RopeTable(scratch.frequencies, config.rope_dim / 2, position + t, scratch.rotations + (row + t) * config.rope_dim);
      }
    });
    row += sequence.tokens.size();
  }
}

// Logits of the positions that the sequences ask for, in order, into scratch.logits [outputs, vocab].
template <class FormatList, class Spec>
HWY_INLINE std::size_t ComputeLogits(const Spec& spec, const ModelWeights& weights,
                                     std::span<const SequenceInput> sequences, const Scratch& scratch,
                                     ExecutorRef executor) {
  const ModelConfig& config = spec.config();
  const std::size_t dim = config.dim;
  // The rows asked for move to the front; a row never moves past one that is still needed.
  std::size_t row = 0, outputs = 0;
  for (const SequenceInput& sequence : sequences) {
    const std::size_t count = sequence.tokens.size(), wanted = OutputCount(sequence);
    for (std::size_t i = count - wanted; i < count; ++i, ++outputs) {
      const float* from = scratch.residual + (row + i) * dim;
      if (outputs != row + i) std::copy(from, from + dim, scratch.residual + outputs * dim);
    }
    row += count;
  }
  if (outputs == 0) return 0;
  NormalizeRows(scratch.residual, weights.output_norm, config.norm_epsilon, spec.dim(), outputs,
                KindsFor(weights.output), scratch.normalized, executor);
  Multiply<FormatList>(weights.output.type, weights.output.data, config.vocab, spec.dim(), scratch.normalized, outputs,
                       Output{scratch.logits, config.vocab, false}, executor);
  return outputs;
}

// One pass over all sequences' new tokens. The arguments have been checked (model.hpp); caches are not advanced.
// Returns the number of rows in scratch.logits. At most five synchronisations a layer, whatever the number of tokens
// when there is one, as normalising and quantising one row is cheaper than sharing it.
template <class FormatList, class KvList, class Spec>
HWY_NOINLINE std::size_t ForwardPass(const Spec& spec, const ModelWeights& weights,
                                     std::span<const SequenceInput> sequences, std::size_t tokens, const Scratch& scratch,
                                     ExecutorRef executor) {
  EmbedTokens<FormatList>(spec, weights, sequences, scratch, executor);
  for (std::size_t l = 0; l < spec.config().layers; ++l) {
    const LayerWeights& layer = weights.layers[l];
    ProjectQueryKeyValue<FormatList, KvList>(spec, layer, l, sequences, tokens, scratch, executor);
    Attend<KvList>(spec, l, sequences, scratch, executor);
    AddAttentionOutput<FormatList>(spec, layer, tokens, scratch, executor);
    AddFeedForward<FormatList>(spec, layer, tokens, scratch, executor);
  }
  return ComputeLogits<FormatList>(spec, weights, sequences, scratch, executor);
}

// NOLINTNEXTLINE(google-readability-namespace-comments)
}  // namespace HWY_NAMESPACE
}  // namespace INLAY_ABI_NAMESPACE
}  // namespace inlay
HWY_AFTER_NAMESPACE();

#endif  // INLAY_MODEL_FORWARD_INL_HPP_

// --- inlay/model/memory_plan.hpp

// How many bytes a model and a session take, exactly, before any is taken.
#ifndef INLAY_MODEL_MEMORY_PLAN_HPP_
#define INLAY_MODEL_MEMORY_PLAN_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

INLAY_BEGIN_NAMESPACE

// What the host decides about a session. Zero means: the model's own, or the default named.
struct SessionOptions {
  std::size_t context = 0;  // positions of the cache; 0: the model's trained context
  std::size_t batch = 128;  // most tokens of one pass; longer prompts are fed in pieces, with the same result
  std::size_t outputs = 1;  // most positions of one pass whose logits are kept (batch: all of them)
  std::size_t threads = 4;  // most threads that attend at once; an executor with more is used by everything else
  KvType kv = KvType::kF16;

  constexpr std::size_t ContextFor(const ModelConfig& config) const { return context == 0 ? config.context : context; }
};

// Bytes of memory that starts at a multiple of kAlignment.
struct MemoryPlan {
  std::size_t weights = 0;   // the packed buffer: in the file, in flash or on the heap
  std::size_t kv_cache = 0;  // per sequence
  std::size_t scratch = 0;   // of a forward pass
  // What the host hands over to a session.
  constexpr std::size_t session() const { return kv_cache + scratch; }
  constexpr std::size_t total() const { return weights + session(); }
};

// Session memory of a model; `kinds` are the representations its matrices multiply with. Errors: an option out of range.
constexpr Result<ScratchShape> PlanScratch(const ModelConfig& config, const SessionOptions& options,
                                           ActivationKinds kinds) {
  const std::size_t context = options.ContextFor(config);
  if (context == 0 || context > kMaxContext) {
    return Fail(ErrorCode::kInvalidArgument, "context", "must be 1 .. 2^28");
  }
  if (options.batch == 0 || options.batch > 65536) {
    return Fail(ErrorCode::kInvalidArgument, "batch", "must be 1 .. 65536");
  }
  if (options.threads == 0 || options.threads > 1024) {
    return Fail(ErrorCode::kInvalidArgument, "threads", "must be 1 .. 1024");
  }
  if (options.outputs == 0) return Fail(ErrorCode::kInvalidArgument, "outputs", "must be at least 1");
  // Everything else is far from overflow (see config/model_config.hpp); many layers of a long context are not.
  std::uint64_t bytes = 2 * sizeof(float) * std::uint64_t{config.layers};
  if (!CheckedMultiply(bytes, KvCapacity(context), bytes) ||
      !CheckedMultiply(bytes, config.kv_heads * KvValueStride(config.head_dim), bytes) ||
      bytes > std::numeric_limits<std::size_t>::max() / 4) {
    return Fail(ErrorCode::kTooLarge, "context", context, " positions of this model's keys and values cannot be addressed");
  }
  ScratchShape shape;
  shape.tokens = std::min(options.batch, context);
  shape.outputs = std::min(options.outputs, shape.tokens);
  shape.context = context;
  shape.threads = options.threads;
  shape.kinds = kinds;
  return shape;
}

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_MEMORY_PLAN_HPP_

// --- inlay/model/workspace.hpp

// The memory a forward pass works in. One per thread of control; sequences may share it, as it keeps nothing between passes.
#ifndef INLAY_MODEL_WORKSPACE_HPP_
#define INLAY_MODEL_WORKSPACE_HPP_

#include <cstddef>

INLAY_BEGIN_NAMESPACE

// Views memory that the caller owns. Made by BasicModel::NewWorkspace.
class Workspace {
 public:
  // `rope_factors` is nullptr or [rope_dim / 2]: each frequency is divided by its factor.
  static Result<Workspace> Create(Arena& arena, const ModelConfig& config, const ScratchShape& shape,
                                  const float* rope_factors) {
    Workspace workspace;
    workspace.config_ = config;
    INLAY_ASSIGN_OR_RETURN(workspace.scratch_, Scratch::Create(arena, config, shape));
    const double scale = config.rope_scaling == RopeScaling::kLinear ? static_cast<double>(config.rope_scale) : 1.0;
    RopeFrequencies(config.rope_base, scale, rope_factors, config.rope_dim, workspace.scratch_.frequencies);
    return workspace;
  }

  const ModelConfig& config() const { return config_; }  // of the model that it was made for
  const Scratch& scratch() const { return scratch_; }
  std::size_t batch() const { return scratch_.shape.tokens; }

 private:
  ModelConfig config_;
  Scratch scratch_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_WORKSPACE_HPP_

// --- inlay/weights/recipes.hpp

// Which type each tensor of a published quantised file has, as constant expressions: what makes the size of a model
// known before it is downloaded.
// Source: the mixes of llama.cpp's quantiser as found in published files.
#ifndef INLAY_WEIGHTS_RECIPES_HPP_
#define INLAY_WEIGHTS_RECIPES_HPP_

#include <cstddef>
#include <cstdint>

INLAY_BEGIN_NAMESPACE

// The mix that files named Q4_K_M hold: Q4_K, and Q6_K for the output matrix and, in about half of the layers, for the
// values and the down projection, which are most sensitive to rounding.
struct Q4_K_M : Formats<WeightType::kQ4_K, WeightType::kQ6_K, WeightType::kQ5_K, WeightType::kF32> {
  static constexpr WeightType TypeOf(const ModelConfig& config, TensorId id) {
    const std::uint32_t n = config.layers;
    const bool more_bits = id.layer < n / 8 || id.layer >= 7 * n / 8 || (id.layer - n / 8) % 3 == 2;
    switch (id.role) {
      case TensorRole::kOutput: return WeightType::kQ6_K;
      case TensorRole::kTokenEmbedding: return config.tied_embeddings ? WeightType::kQ6_K : WeightType::kQ4_K;
      case TensorRole::kValue:
        if (more_bits) return WeightType::kQ6_K;
        // The 70B models' few value heads are shared by many queries: one size more.
        return config.layers == 80 ? WeightType::kQ5_K : WeightType::kQ4_K;
      case TensorRole::kDown: return more_bits ? WeightType::kQ6_K : WeightType::kQ4_K;
      default: return WeightType::kQ4_K;
    }
  }
};

// The type of a tensor under a recipe. A plain Formats list is the recipe "every matrix in the first type".
template <class Recipe>
constexpr WeightType RecipeType(const ModelConfig& config, TensorId id) {
  if (IsVector(id.role) || id.role == TensorRole::kRouter) return WeightType::kF32;
  if constexpr (requires { Recipe::TypeOf(config, id); }) {
    return Recipe::TypeOf(config, id);
  } else {
    return Recipe::kList[0];
  }
}

// Whether every matrix can have the type that the recipe gives it: rows are whole blocks.
template <class Recipe>
constexpr bool RecipeFits(const ModelConfig& config) {
  for (std::size_t i = 0; i < TensorCount(config); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role)) continue;
    if (ShapeOf(config, id.role).cols % Info(RecipeType<Recipe>(config, id)).block_values != 0) return false;
  }
  return true;
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_RECIPES_HPP_

// --- inlay/model/model.hpp

// A model: weights and the forward pass over them. Model<kConfig, Formats> has its dimensions compiled in; AnyModel
// takes them from a file. Both are the same code.
#ifndef INLAY_MODEL_MODEL_HPP_
#define INLAY_MODEL_MODEL_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

INLAY_BEGIN_NAMESPACE

// Logits of some positions: [rows, vocab]. Valid until the workspace is used again.
struct LogitsView {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t vocab = 0;

  std::span<const float> row(std::size_t index) const { return {data + index * vocab, vocab}; }
};

namespace detail {

// The first field in which a file's model differs from the one compiled in. The trained context is no dimension of any
// tensor and may differ.
inline Result<void> RequireSameModel(const ModelConfig& compiled, const ModelConfig& file) {
  const auto same = [](std::string_view field, auto expected, auto found) -> Result<void> {
    if (expected == found) return {};
    if constexpr (std::is_integral_v<decltype(expected)>) {
      return Fail(ErrorCode::kMismatch, field, "the file has ", found, ", this model type is compiled for ", expected);
    } else {
      return Fail(ErrorCode::kMismatch, field, "differs from what this model type is compiled for");
    }
  };
  INLAY_CHECK_OK(same("architecture", compiled.architecture, file.architecture));
  INLAY_CHECK_OK(same("dim", compiled.dim, file.dim));
  INLAY_CHECK_OK(same("layers", compiled.layers, file.layers));
  INLAY_CHECK_OK(same("heads", compiled.heads, file.heads));
  INLAY_CHECK_OK(same("kv_heads", compiled.kv_heads, file.kv_heads));
  INLAY_CHECK_OK(same("head_dim", compiled.head_dim, file.head_dim));
  INLAY_CHECK_OK(same("ffn_dim", compiled.ffn_dim, file.ffn_dim));
  INLAY_CHECK_OK(same("vocab", compiled.vocab, file.vocab));
  INLAY_CHECK_OK(same("rope_dim", compiled.rope_dim, file.rope_dim));
  INLAY_CHECK_OK(same("window", compiled.window, file.window));
  INLAY_CHECK_OK(same("experts", compiled.experts, file.experts));
  INLAY_CHECK_OK(same("experts_per_token", compiled.experts_per_token, file.experts_per_token));
  ModelConfig rest = file;
  rest.context = compiled.context;
  return same("rope_base, rope_scale, rope_scaling, norm_epsilon or tied_embeddings", compiled, rest);
}

// Memory for the table of layers: inside a static model, handed over by the caller for a dynamic one.
template <class Spec>
struct LayerTable {
  std::span<LayerWeights> entries;
  std::span<LayerWeights> span() { return entries; }
  std::span<const LayerWeights> span() const { return entries; }
};
template <ModelConfig kConfig>
struct LayerTable<StaticSpec<kConfig>> {
  std::array<LayerWeights, kConfig.layers> entries{};
  std::span<LayerWeights> span() { return entries; }
  std::span<const LayerWeights> span() const { return entries; }
};

}  // namespace detail

// Weights bound to a forward pass. Views the packed buffer; owns nothing on the heap. Const members may be called from
// several threads at once, each with its own workspace and caches.
template <class SpecType, class FormatListType, class KvListType = CommonKvTypes>
class BasicModel {
 public:
  using Spec = SpecType;
  using FormatList = FormatListType;
  using KvList = KvListType;
  static constexpr bool kIsStatic = Spec::kIsStatic;

  // The representations of activations that any format of the list multiplies with.
  static constexpr ActivationKinds kKinds = [] {
    ActivationKinds kinds = kActivationFloat;
    for (const WeightType type : FormatList::kList) kinds |= ActivationKindOf(type);
    return kinds;
  }();

  // Binds packed weights (weights/packed_file.hpp, weights/pack.hpp), which must outlive the model.
  // `config` is the file's; it must be the compiled one for a static model. `types` is only read here. A dynamic model
  // keeps its table of layers in `table` (config.layers entries, outliving the model); a static one needs none.
  // Errors: kMismatch (config or sizes), kUnsupported (a type outside FormatList). Cost: the number of tensors.
  static Result<BasicModel> Create(const ModelConfig& config, TensorTypes types, std::span<const std::byte> packed,
                                   std::span<LayerWeights> table = {}) {
    INLAY_CHECK_OK(Validate(config));
    BasicModel model(config);
    if constexpr (kIsStatic) {
      INLAY_CHECK_OK(detail::RequireSameModel(Spec::config(), config));
    } else {
      if (table.size() < config.layers) {
        return Fail(ErrorCode::kInvalidArgument, "table", "needs ", config.layers, " entries, has ", table.size());
      }
      model.layers_.entries = table.first(config.layers);
    }
    if (types.size() != TensorCount(config)) {
      return Fail(ErrorCode::kMismatch, "tensor types", types.size(), " entries, the model has ", TensorCount(config));
    }
    INLAY_CHECK_OK(CheckFormats<FormatList>(config, types));
    INLAY_ASSIGN_OR_RETURN(model.weights_, BindPackedWeights(config, types, packed, model.layers_.span()));
    model.weights_.layers = {};  // the table moves with the model: see weights()
    model.weights_bytes_ = packed.size();
    return model;
  }

  const ModelConfig& config() const { return spec_.config(); }

  // Bytes of a model and a session, known to the compiler. The weights are those of FormatList as a recipe (weights/
  // recipes.hpp). An option that no session could have does not compile.
  static constexpr MemoryPlan Plan(const SessionOptions& options)
    requires kIsStatic
  {
    static_assert(RecipeFits<FormatList>(Spec::config()), "a matrix of this model has rows that are not whole blocks of "
                                                          "the type that the formats give it");
    MemoryPlan plan = *PlanSession(Spec::config(), options);
    plan.weights = PackedWeightsBytes(Spec::config(), [](TensorId id) {
      return RecipeType<FormatList>(Spec::config(), id);
    });
    return plan;
  }

  // The same for the weights that were opened.
  Result<MemoryPlan> PlanFor(const SessionOptions& options) const {
    INLAY_ASSIGN_OR_RETURN(MemoryPlan plan, PlanSession(config(), options));
    plan.weights = weights_bytes_;
    return plan;
  }

  // Takes plan.kv_cache and plan.scratch bytes from the arena.
  Result<KvCache> NewCache(const SessionOptions& options, Arena& arena) const {
    INLAY_CHECK_OK(PlanScratch(config(), options, kKinds));
    INLAY_CHECK_OK(CheckKvType(options.kv));
    return KvCache::Create(arena, config(), options.kv, options.ContextFor(config()));
  }
  Result<Workspace> NewWorkspace(const SessionOptions& options, Arena& arena) const {
    INLAY_ASSIGN_OR_RETURN(const ScratchShape shape, PlanScratch(config(), options, kKinds));
    return Workspace::Create(arena, config(), shape, weights_.rope_factors);
  }

  // Runs the new tokens of all sequences, appends them to their caches, and returns the logits asked for, sequence by
  // sequence. The logits of a token depend on nothing but the tokens before it in its own sequence: neither on how a
  // prompt was cut into passes, nor on other sequences, nor on the executor, to the last bit.
  // Errors leave every cache as it was: kInvalidArgument (token id, memory of another model), kContextFull, kTooLarge (beyond the workspace),
  // kNonFinite (weights or activations overflowed). No allocation; the only locks are the executor's.
  Result<LogitsView> Forward(std::span<const SequenceInput> sequences, Workspace& workspace, ExecutorRef executor) const {
    const Scratch& scratch = workspace.scratch();
    if (workspace.config() != config() || scratch.shape.kinds != kKinds) {
      return Fail(ErrorCode::kInvalidArgument, "workspace", "was made for another model");
    }
    std::size_t tokens = 0, outputs = 0;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      INLAY_CHECK_OK(CheckSequence(sequences[i], scratch));
      for (const SequenceInput& other : sequences.first(i)) {
        if (other.cache == sequences[i].cache) return Fail(ErrorCode::kInvalidArgument, "cache", "is that of two sequences");
      }
      tokens += sequences[i].tokens.size();
      outputs += OutputCount(sequences[i]);
    }
    if (tokens > scratch.shape.tokens) {
      return Fail(ErrorCode::kTooLarge, "tokens", tokens, " in one pass, the workspace is made for ", scratch.shape.tokens);
    }
    if (outputs > scratch.shape.outputs) {
      return Fail(ErrorCode::kTooLarge, "outputs", outputs, " in one pass, the workspace is made for ",
                  scratch.shape.outputs);
    }
    LogitsView logits{scratch.logits, outputs, config().vocab};
    if (tokens == 0) return logits;
    HWY_NAMESPACE::ForwardPass<FormatList, KvList>(spec_, weights(), sequences, tokens, scratch, executor);
    for (std::size_t i = 0; i < outputs * logits.vocab; ++i) {
      if (!IsFinite(scratch.logits[i])) {
        return Fail(ErrorCode::kNonFinite, "logits", "token ", i % logits.vocab,
                    " has no finite score; the weights hold NaN or infinity, or overflow");
      }
    }
    for (const SequenceInput& sequence : sequences) sequence.cache->Advance(sequence.tokens.size());
    return logits;
  }

  // Pointers to every tensor.
  ModelWeights weights() const {
    ModelWeights weights = weights_;
    weights.layers = layers_.span();
    return weights;
  }

 private:
  explicit BasicModel(const ModelConfig& config) : spec_(MakeSpec(config)) {}

  static Spec MakeSpec([[maybe_unused]] const ModelConfig& config) {
    if constexpr (kIsStatic) {
      return Spec{};
    } else {
      return Spec(config);
    }
  }

  static constexpr Result<void> CheckKvType(KvType type) {
    if (KvList::Contains(type)) return {};
    TextBuffer<64> list;
    for (const KvType each : KvList::kList) list.Append(list.empty() ? "" : ", ").Append(Name(each));
    return Fail(ErrorCode::kUnsupported, "kv", "type ", Name(type), " is not in this model's cache types (", list.view(),
                "); add ", Name(type));
  }

  static constexpr Result<MemoryPlan> PlanSession(const ModelConfig& config, const SessionOptions& options) {
    INLAY_ASSIGN_OR_RETURN(const ScratchShape shape, PlanScratch(config, options, kKinds));
    INLAY_CHECK_OK(CheckKvType(options.kv));
    MemoryPlan plan;
    MemoryCounter cache_bytes, scratch_bytes;
    INLAY_CHECK_OK(KvCache::Create(cache_bytes, config, options.kv, shape.context));
    INLAY_CHECK_OK(Scratch::Create(scratch_bytes, config, shape));
    plan.kv_cache = cache_bytes.used();
    plan.scratch = scratch_bytes.used();
    return plan;
  }

  Result<void> CheckSequence(const SequenceInput& sequence, const Scratch& scratch) const {
    if (sequence.cache == nullptr) return Fail(ErrorCode::kInvalidArgument, "cache", "is null");
    if (!sequence.cache->IsFor(config())) return Fail(ErrorCode::kInvalidArgument, "cache", "was made for another model");
    INLAY_CHECK_OK(CheckKvType(sequence.cache->type()));
    if (sequence.cache->context() > scratch.shape.context) {
      return Fail(ErrorCode::kTooLarge, "cache", "has ", sequence.cache->context(), " positions, the workspace is made for ",
                  scratch.shape.context);
    }
    if (sequence.tokens.size() > sequence.cache->remaining()) {
      return Fail(ErrorCode::kContextFull, "tokens", sequence.tokens.size(), " new tokens, ", sequence.cache->remaining(),
                  " of ", sequence.cache->context(), " positions left");
    }
    for (const TokenId token : sequence.tokens) {
      if (token < 0 || static_cast<std::uint32_t>(token) >= config().vocab) {
        return Fail(ErrorCode::kInvalidArgument, "token id", token, " is not in a vocabulary of ", config().vocab);
      }
    }
    return {};
  }

  [[no_unique_address]] Spec spec_;
  ModelWeights weights_;
  detail::LayerTable<Spec> layers_;
  std::size_t weights_bytes_ = 0;
};

// A model whose dimensions are compile-time constants: Model<kTinyLlama1_1B, Q4_K_M>. The lists of weight and cache types
// are closed: what is not in them is not compiled, and a typed error.
template <ModelConfig kConfig, class FormatList, class KvList = CommonKvTypes>
using Model = BasicModel<StaticSpec<kConfig>, FormatList, KvList>;

// Any model of a supported architecture, in any supported weight type, with any cache.
using AnyModel = BasicModel<DynamicSpec, AllFormats, AllKvTypes>;

INLAY_END_NAMESPACE

#endif  // INLAY_MODEL_MODEL_HPP_

// --- inlay/generate/session.hpp

// A session: one sequence of a model, token by token. Owns nothing: all memory comes from the caller, once.
#ifndef INLAY_GENERATE_SESSION_HPP_
#define INLAY_GENERATE_SESSION_HPP_

#include <algorithm>
#include <cstddef>
#include <span>

INLAY_BEGIN_NAMESPACE

// Told after each pass over a prompt: tokens done and in total; false stops (kCancelled).
using PrefillProgress = FunctionRef<bool(std::size_t done, std::size_t total)>;

// One sequence: what has been read and written so far, and the logits of what comes next. Not thread-safe; several
// sessions may share a model. Movable as a view of its memory.
template <class ModelType>
class Session {
 public:
  // Bytes that Create takes from the memory handed over, exactly.
  static Result<std::size_t> MemoryBytes(const ModelType& model, const SessionOptions& options) {
    INLAY_ASSIGN_OR_RETURN(const MemoryPlan plan, model.PlanFor(options));
    return plan.session();
  }

  // `model` and `memory` outlive the session. kOutOfMemory when memory.size() < MemoryBytes; the memory must start at a
  // multiple of 64 bytes. Nothing is allocated, here or later.
  static Result<Session> Create(const ModelType& model, const SessionOptions& options, std::span<std::byte> memory) {
    INLAY_ASSIGN_OR_RETURN(const std::size_t needed, MemoryBytes(model, options));
    if (memory.size() < needed) {
      return Fail(ErrorCode::kOutOfMemory, "session memory", "needs ", needed, " bytes, has ", memory.size());
    }
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(memory));
    Session session(model);
    INLAY_ASSIGN_OR_RETURN(session.cache_, model.NewCache(options, arena));
    INLAY_ASSIGN_OR_RETURN(session.workspace_, model.NewWorkspace(options, arena));
    return session;
  }

  const ModelType& model() const { return *model_; }
  std::size_t length() const { return cache_.length(); }        // tokens so far
  std::size_t remaining() const { return cache_.remaining(); }  // positions left

  // Reads tokens and makes the logits of the token after them ready. Long inputs go through in pieces; the result does not
  // depend on the pieces. On any error, also kCancelled, the session is as it was before the call, but without logits.
  Result<void> Append(std::span<const TokenId> tokens, ExecutorRef executor, PrefillProgress progress) {
    const std::size_t start = length();
    logits_ = {};
    if (tokens.empty()) return Fail(ErrorCode::kInvalidArgument, "tokens", "nothing to read");
    if (tokens.size() > remaining()) {
      return Fail(ErrorCode::kContextFull, "tokens", tokens.size(), " tokens, ", remaining(), " of ", cache_.context(),
                  " positions left");
    }
    for (std::size_t done = 0; done < tokens.size();) {
      const std::size_t count = std::min(workspace_.batch(), tokens.size() - done);
      const bool last = done + count == tokens.size();
      const SequenceInput input{&cache_, tokens.subspan(done, count), last ? Outputs::kLast : Outputs::kNone};
      const Result<LogitsView> logits = model_->Forward({&input, 1}, workspace_, executor);
      done += count;
      const bool stop = logits && !progress(done, tokens.size());
      if (!logits || stop) {
        cache_.Truncate(start);
        if (!logits) return logits.error();
        return Fail(ErrorCode::kCancelled, "prompt", "stopped by the caller after ", done, " tokens");
      }
      logits_ = *logits;
    }
    return {};
  }
  Result<void> Append(std::span<const TokenId> tokens, ExecutorRef executor) {
    return Append(tokens, executor, [](std::size_t, std::size_t) { return true; });
  }

  // Logits of the next token, [vocab]; empty before the first Append and after an error. Valid until the next call.
  std::span<const float> logits() const { return logits_.rows == 0 ? std::span<const float>() : logits_.row(0); }

  // Forgets everything from position `length` on. The logits are gone: Append at least one token to have them again.
  void Truncate(std::size_t length) {
    cache_.Truncate(length);
    logits_ = {};
  }

 private:
  explicit Session(const ModelType& model) : model_(&model) {}

  const ModelType* model_;
  KvCache cache_;
  Workspace workspace_;
  LogitsView logits_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_SESSION_HPP_

// --- inlay/text/token_writer.hpp

// Where tokenisers put their tokens. Apart because every algorithm writes through it.
#ifndef INLAY_TEXT_TOKEN_WRITER_HPP_
#define INLAY_TEXT_TOKEN_WRITER_HPP_

#include <cstddef>
#include <span>

INLAY_BEGIN_NAMESPACE

// Fills memory of the caller and, when that is full, goes on counting: so an error can say how much room was needed.
class TokenWriter {
 public:
  explicit TokenWriter(std::span<TokenId> out) : out_(out) {}

  void Push(TokenId token) {
    if (count_ < out_.size()) out_[count_] = token;
    ++count_;
  }
  // Tokens pushed, those for which there was no room included.
  std::size_t count() const { return count_; }
  bool overflowed() const { return count_ > out_.size(); }

 private:
  std::span<TokenId> out_;
  std::size_t count_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_TOKEN_WRITER_HPP_

// --- inlay/text/utf8.hpp

// UTF-8: reading characters, finding where a text is not valid, and how much of its end is a character still to come.
// Apart from the tokenisers because the detokeniser and whoever prints text need it too.
#ifndef INLAY_TEXT_UTF8_HPP_
#define INLAY_TEXT_UTF8_HPP_

#include <cstddef>
#include <cstdint>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// One step through a text. `size` is the bytes taken, never 0: those of a valid character, or of the longest run that
// could have begun one (the "maximal subpart" of the Unicode standard, chapter 3.9), which is then not valid.
struct Utf8Character {
  char32_t code_point = 0xFFFD;
  std::uint32_t size = 1;
  bool valid = false;
  // The text ended inside a character that was valid up to there.
  bool incomplete = false;
};

// Reads the character at the start of `text`, which must not be empty. Overlong forms, surrogates and code points
// beyond U+10FFFF are not valid.
constexpr Utf8Character DecodeUtf8(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {.code_point = lead, .size = 1, .valid = true};
  if (lead < 0xC2 || lead > 0xF4) return {};

  const std::uint32_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // Only the second byte has bounds that depend on the first: they rule out overlong forms, surrogates and the end.
  std::uint8_t low = 0x80;
  std::uint8_t high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;

  char32_t code_point = lead & (0xFFu >> (size + 1));
  for (std::uint32_t i = 1; i < size; ++i) {
    if (i == text.size()) return {.size = i, .incomplete = true};
    if (byte(i) < low || byte(i) > high) return {.size = i};
    code_point = (code_point << 6) | (byte(i) & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {.code_point = code_point, .size = size, .valid = true};
}

// The offset of the first byte that is not part of a valid character; text.size() when all of it is valid. Linear.
constexpr std::size_t FindInvalidUtf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const Utf8Character character = DecodeUtf8(text.substr(at));
    if (!character.valid) return at;
    at += character.size;
  }
  return at;
}

constexpr bool IsValidUtf8(std::string_view text) { return FindInvalidUtf8(text) == text.size(); }

// The number of bytes (0 to 3) at the end of `text` that begin a character whose rest has not come yet. Bytes that
// cannot become valid any more are not counted: waiting for more would not help them.
constexpr std::size_t IncompleteUtf8Suffix(std::string_view text) {
  for (std::size_t count = 1; count <= 3 && count <= text.size(); ++count) {
    const std::string_view end = text.substr(text.size() - count);
    if ((static_cast<std::uint8_t>(end[0]) & 0xC0) == 0x80) continue;
    const Utf8Character character = DecodeUtf8(end);
    return character.incomplete && character.size == count ? count : 0;
  }
  return 0;
}

// The bytes that a character takes by its first byte alone, as if what follows were well-formed: 1 for bytes that
// cannot begin one.
constexpr std::size_t Utf8SizeByLead(char lead) {
  const std::uint8_t byte = static_cast<std::uint8_t>(lead);
  return byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_UTF8_HPP_

// --- inlay/text/vocab.hpp

// The vocabulary: what each token is spelled like, what kind it is, and which token a spelling has. Shared by every
// tokenisation algorithm; knows no file format (tokenizer.hpp fills it).
#ifndef INLAY_TEXT_VOCAB_HPP_
#define INLAY_TEXT_VOCAB_HPP_

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// What a token is; a token may be several things at once (a set of bits).
using TokenAttributes = std::uint16_t;
inline constexpr TokenAttributes kTokenUnknown = 1;           // stands for text the vocabulary cannot spell
inline constexpr TokenAttributes kTokenUnused = 2;            // reserved by the model's author, prints nothing
inline constexpr TokenAttributes kTokenNormal = 4;            // a piece of text
inline constexpr TokenAttributes kTokenControl = 8;           // steers the model; read from text only when asked to
inline constexpr TokenAttributes kTokenUserDefined = 16;      // found in text before the algorithm sees the rest
inline constexpr TokenAttributes kTokenByte = 32;             // one byte, written <0xHH>
inline constexpr TokenAttributes kTokenStripsRight = 64;      // white space after it in the text belongs to it
inline constexpr TokenAttributes kTokenEndsGeneration = 128;  // the model has finished when it chooses this

// The U+2581 that SentencePiece vocabularies write for a space.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

// The ids with a meaning of their own; kNoToken where the vocabulary has none.
struct SpecialTokens {
  TokenId bos = kNoToken;  // begins a sequence
  TokenId eos = kNoToken;  // ends a sequence
  TokenId eot = kNoToken;  // ends a turn of a conversation
  TokenId eom = kNoToken;  // ends a message that expects a tool's answer
  TokenId unknown = kNoToken;
  TokenId separator = kNoToken;
  TokenId padding = kNoToken;
  TokenId mask = kNoToken;
};

// Pieces are views into memory of the caller (usually the mapped file), which must outlive the vocabulary; tables live
// in the arena. Filled once: Create, Add for every id in order, Finish. After that it is immutable and any number of
// threads may read it.
class Vocabulary {
 public:
  // Longer pieces are refused: tables store lengths in 16 bits, and looking a text up costs its length.
  static constexpr std::size_t kMaxPieceBytes = 4096;

  // The arena bytes that Create and Finish take at most, for `count` tokens.
  static constexpr std::size_t MaxArenaBytes(std::size_t count) {
    return ArenaBytes<Entry>(count) + ArenaBytes<Slot>(SlotCount(count)) + ArenaBytes<TokenId>(count);
  }

  // `text` is the memory that all pieces lie in. kBadFile: no tokens. kTooLarge: more than 2^31 - 1 tokens, or more
  // than 4 GiB of text. kOutOfMemory: arena too small.
  static Result<Vocabulary> Create(std::string_view text, std::size_t count, Arena& arena) {
    if (count == 0) return Fail(ErrorCode::kBadFile, "vocabulary", "has no tokens");
    if (count > static_cast<std::size_t>(std::numeric_limits<TokenId>::max())) {
      return Fail(ErrorCode::kTooLarge, "vocabulary", count, " tokens; ids end at 2147483646");
    }
    if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
      return Fail(ErrorCode::kTooLarge, "vocabulary", text.size(), " bytes of pieces; at most 4294967295 are read");
    }
    Vocabulary vocabulary;
    vocabulary.text_ = text;
    INLAY_ASSIGN_OR_RETURN(vocabulary.entries_, arena.Allocate<Entry>(count, "vocabulary"));
    INLAY_ASSIGN_OR_RETURN(vocabulary.slots_, arena.Allocate<Slot>(SlotCount(count), "vocabulary index"));
    std::fill(vocabulary.slots_.begin(), vocabulary.slots_.end(), Slot{});
    vocabulary.bytes_.fill(kNoToken);
    return vocabulary;
  }

  // The next token. `piece` lies within the text given to Create (or is empty); `offset` is where it stands in its
  // file, for errors. A piece with kTokenByte must be written <0xHH>.
  // kTooLarge: piece too long. kNonFinite: score. kBadFile: a malformed or repeated byte token, or a piece that an
  // earlier token has as well.
  Result<void> Add(std::string_view piece, float score, TokenAttributes attributes, std::uint64_t offset) {
    const TokenId id = static_cast<TokenId>(size_);
    if (piece.size() > kMaxPieceBytes) {
      return FailAt(ErrorCode::kTooLarge, offset, "vocabulary", "token ", id, " has ", piece.size(), " bytes; at most ",
                    kMaxPieceBytes, " are allowed");
    }
    if (!IsFinite(score)) {
      return FailAt(ErrorCode::kNonFinite, offset, "vocabulary", "the score of token ", id, " is NaN or infinite");
    }
    if ((attributes & kTokenByte) != 0) {
      const int value = ByteValue(piece);
      if (value < 0) {
        return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "byte token ", id, " is not written <0x00> to <0xFF>");
      }
      TokenId& slot = bytes_[static_cast<std::size_t>(value)];
      if (slot != kNoToken) {
        return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "byte tokens ", slot, " and ", id,
                      " are the same byte");
      }
      slot = id;
    }
    INLAY_ASSERT(size_ < entries_.size());
    const std::size_t start = piece.empty() ? 0 : static_cast<std::size_t>(piece.data() - text_.data());
    entries_[size_++] = {static_cast<std::uint32_t>(start), static_cast<std::uint16_t>(piece.size()), attributes,
                         score};
    max_piece_bytes_ = std::max(max_piece_bytes_, piece.size());
    // An empty piece has an id (files use them as padding) but no text leads to it.
    return piece.empty() ? Result<void>() : Insert(id, offset);
  }

  // Adds attributes, before Finish.
  void AddAttributes(TokenId id, TokenAttributes attributes) {
    TokenAttributes& all = entries_[static_cast<std::size_t>(id)].attributes;
    all = static_cast<TokenAttributes>(all | attributes);
  }

  // Completes the vocabulary: the ids in `special` are checked (kBadFile: not a token, naming it) and the tokens that
  // are found in text before the rest is tokenised are put in order. `space` is how pieces write a space (kSpaceMark,
  // or " ").
  Result<void> Finish(const SpecialTokens& special, std::string_view space, Arena& arena) {
    INLAY_ASSERT(size_ == entries_.size());
    const struct {
      std::string_view name;
      TokenId id;
    } named[] = {{"bos token", special.bos},         {"eos token", special.eos},
                 {"eot token", special.eot},         {"eom token", special.eom},
                 {"unknown token", special.unknown}, {"separator token", special.separator},
                 {"padding token", special.padding}, {"mask token", special.mask}};
    for (const auto& token : named) {
      if (token.id != kNoToken && !Contains(token.id)) {
        return Fail(ErrorCode::kBadFile, token.name, "id ", token.id, " in a vocabulary of ", size_, " tokens");
      }
    }
    special_ = special;
    space_ = space;
    for (const TokenId id : {special.eos, special.eot, special.eom}) {
      if (id != kNoToken) AddAttributes(id, kTokenEndsGeneration);
    }

    std::size_t count = 0;
    for (const Entry& entry : entries_) count += IsMatched(entry) ? 1 : 0;
    INLAY_ASSIGN_OR_RETURN(matched_, arena.Allocate<TokenId>(count, "special tokens"));
    std::size_t next = 0;
    for (std::size_t id = 0; id < size_; ++id) {
      const Entry& entry = entries_[id];
      if (IsMatched(entry)) {
        matched_[next++] = static_cast<TokenId>(id);
        const std::uint8_t first = static_cast<std::uint8_t>(text_[entry.start]);
        (NeedsConsent(entry.attributes) ? consented_starts_ : free_starts_).Set(first);
      }
      if (!HoldsOnlyLeadingSpaces(entry)) words_begin_at_spaces_ = false;
    }
    std::sort(matched_.begin(), matched_.end(), [this](TokenId a, TokenId b) { return Piece(a) < Piece(b); });
    return {};
  }

  std::size_t size() const { return size_; }
  bool Contains(TokenId id) const { return id >= 0 && static_cast<std::size_t>(id) < size_; }
  const SpecialTokens& special() const { return special_; }

  // How pieces write a space.
  std::string_view space() const { return space_; }
  // The longest piece.
  std::size_t max_piece_bytes() const { return max_piece_bytes_; }
  // True when in no piece of text anything but a space comes before a space: then no token can reach over the border
  // between a word and the space after it.
  bool words_begin_at_spaces() const { return words_begin_at_spaces_; }

  // As the file writes it. The id must be one of this vocabulary, as in the next three.
  std::string_view Piece(TokenId id) const {
    const Entry& entry = entries_[static_cast<std::size_t>(id)];
    return text_.substr(entry.start, entry.size);
  }
  std::size_t PieceSize(TokenId id) const { return entries_[static_cast<std::size_t>(id)].size; }
  float Score(TokenId id) const { return entries_[static_cast<std::size_t>(id)].score; }
  TokenAttributes Attributes(TokenId id) const { return entries_[static_cast<std::size_t>(id)].attributes; }

  // The token of a byte; kNoToken where the vocabulary has none.
  TokenId ByteToken(std::uint8_t byte) const { return bytes_[byte]; }
  // The byte that a piece written <0xHH> means; -1 for every other piece.
  static constexpr int ByteValue(std::string_view piece) {
    if (piece.size() != 6 || piece.substr(0, 3) != "<0x" || piece[5] != '>') return -1;
    int value = 0;
    for (const char c : piece.substr(3, 2)) {
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                               : -1;
      if (digit < 0) return -1;
      value = value * 16 + digit;
    }
    return value;
  }

  // The token spelled exactly `piece`, of any kind; kNoToken when there is none. Constant time in the vocabulary's
  // size.
  TokenId Find(std::string_view piece) const {
    if (piece.empty() || piece.size() > max_piece_bytes_) return kNoToken;
    const std::uint32_t hash = Hash(piece);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = hash & mask;; i = (i + 1) & mask) {
      const Slot slot = slots_[i];
      if (slot.id == kNoToken) return kNoToken;
      if (slot.hash == hash && Piece(slot.id) == piece) return slot.id;
    }
  }

  // The token of a piece of text: as Find, but never one that text must not turn into by itself (control, unknown and
  // byte tokens), so that no spelling of "</s>" in a user's text ends the sequence.
  TokenId FindText(std::string_view piece) const {
    const TokenId id = Find(piece);
    return id != kNoToken && IsText(Attributes(id)) ? id : kNoToken;
  }

  // A special token in text: where, and which.
  struct Match {
    std::size_t start = std::string_view::npos;  // npos: none
    TokenId id = kNoToken;
  };

  // The first place at or after `from` where a user-defined token (with `parse_special`: or a control or unknown one)
  // is spelled; of several that start there, the longest. Linear in the text unless specials share long beginnings.
  Match FindSpecial(std::string_view text, std::size_t from, bool parse_special) const {
    if (matched_.empty()) return {};
    for (std::size_t at = from; at < text.size(); ++at) {
      const std::uint8_t first = static_cast<std::uint8_t>(text[at]);
      if (!free_starts_.Has(first) && !(parse_special && consented_starts_.Has(first))) continue;
      const TokenId id = LongestSpecialAt(text.substr(at), parse_special);
      if (id != kNoToken) return {at, id};
    }
    return {};
  }

 private:
  struct Entry {
    std::uint32_t start;
    std::uint16_t size;
    TokenAttributes attributes;
    float score;
  };
  struct Slot {
    std::uint32_t hash = 0;
    TokenId id = kNoToken;
  };

  class ByteSet {
   public:
    void Set(std::uint8_t byte) { words_[byte >> 6] |= std::uint64_t{1} << (byte & 63); }
    bool Has(std::uint8_t byte) const { return ((words_[byte >> 6] >> (byte & 63)) & 1) != 0; }

   private:
    std::array<std::uint64_t, 4> words_{};
  };

  Vocabulary() = default;

  // No honest table, at most half full, comes near this; a file made to collide is refused instead of being slow.
  static constexpr std::size_t kMaxProbes = 2048;

  static constexpr std::size_t SlotCount(std::size_t count) {
    std::size_t slots = 8;
    while (slots < 2 * count) slots *= 2;
    return slots;
  }

  static constexpr bool NeedsConsent(TokenAttributes attributes) {
    return (attributes & (kTokenControl | kTokenUnknown)) != 0;
  }
  static constexpr bool IsText(TokenAttributes attributes) {
    return (attributes & (kTokenControl | kTokenUnknown | kTokenByte)) == 0;
  }
  static bool IsMatched(const Entry& entry) {
    return entry.size != 0 && (entry.attributes & (kTokenControl | kTokenUnknown | kTokenUserDefined)) != 0;
  }

  bool HoldsOnlyLeadingSpaces(const Entry& entry) const {
    if (!IsText(entry.attributes)) return true;
    std::string_view rest = text_.substr(entry.start, entry.size);
    while (rest.substr(0, space_.size()) == space_) rest.remove_prefix(space_.size());
    return rest.find(space_) == std::string_view::npos;
  }

  // By the bits: std::isfinite means nothing under -ffast-math.
  static bool IsFinite(float value) { return (std::bit_cast<std::uint32_t>(value) & 0x7F800000u) != 0x7F800000u; }

  // Multiply and fold, eight bytes at a time, the last ones overlapping. Only this process sees the values, so byte
  // order does not matter.
  static std::uint32_t Hash(std::string_view piece) {
    const char* bytes = piece.data();
    const std::size_t size = piece.size();
    std::uint64_t hash = size * kHashFactor;
    if (size >= 8) {
      for (std::size_t at = 0; at + 8 < size; at += 8) hash = Fold(hash ^ Load<std::uint64_t>(bytes + at));
      hash ^= Load<std::uint64_t>(bytes + size - 8);
    } else if (size >= 4) {
      hash ^= std::uint64_t{Load<std::uint32_t>(bytes)} << 32 | Load<std::uint32_t>(bytes + size - 4);
    } else {
      const auto byte = [bytes](std::size_t i) { return std::uint64_t{static_cast<std::uint8_t>(bytes[i])}; };
      hash ^= byte(0) << 16 | byte(size / 2) << 8 | byte(size - 1);
    }
    return static_cast<std::uint32_t>((Fold(hash) * kHashFactor) >> 32);
  }
  template <class Word>
  static Word Load(const char* from) {
    Word word = 0;
    std::memcpy(&word, from, sizeof(word));
    return word;
  }
  static constexpr std::uint64_t Fold(std::uint64_t value) {
    value *= kHashFactor;
    return value ^ (value >> 32);
  }
  static constexpr std::uint64_t kHashFactor = 0xD6E8FEB86659FD93ULL;

  Result<void> Insert(TokenId id, std::uint64_t offset) {
    const std::string_view piece = Piece(id);
    const std::uint32_t hash = Hash(piece);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    for (std::size_t probe = 0; probe < kMaxProbes; ++probe, at = (at + 1) & mask) {
      if (slots_[at].id == kNoToken) {
        slots_[at] = {hash, id};
        return {};
      }
      if (slots_[at].hash == hash && Piece(slots_[at].id) == piece) {
        return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "tokens ", slots_[at].id, " and ", id,
                      " have the same piece");
      }
    }
    return FailAt(ErrorCode::kBadFile, offset, "vocabulary", "the pieces up to token ", id, " are made to collide");
  }

  // Narrows the sorted specials byte by byte to those that `text` continues; each that ends on the way is a match.
  TokenId LongestSpecialAt(std::string_view text, bool parse_special) const {
    TokenId longest = kNoToken;
    auto first = matched_.begin();
    auto last = matched_.end();
    for (std::size_t depth = 0; first != last; ++depth) {
      // The shortest come first: one that ends here is alone, as no two pieces are equal.
      if (PieceSize(*first) == depth) {
        if (parse_special || !NeedsConsent(Attributes(*first))) longest = *first;
        ++first;
      }
      if (depth == text.size()) break;
      const std::uint8_t byte = static_cast<std::uint8_t>(text[depth]);
      const auto byte_of = [this, depth](TokenId id) { return static_cast<std::uint8_t>(Piece(id)[depth]); };
      first = std::partition_point(first, last, [&](TokenId id) { return byte_of(id) < byte; });
      last = std::partition_point(first, last, [&](TokenId id) { return byte_of(id) == byte; });
    }
    return longest;
  }

  std::string_view text_;
  std::span<Entry> entries_;    // [size]
  std::span<Slot> slots_;       // open addressing, a power of two, at most half full
  std::span<TokenId> matched_;  // the tokens found in text before the rest is tokenised, by piece
  std::array<TokenId, 256> bytes_{};
  ByteSet free_starts_;       // first bytes of user-defined tokens
  ByteSet consented_starts_;  // first bytes of control and unknown tokens
  std::string_view space_ = kSpaceMark;
  SpecialTokens special_;
  std::size_t size_ = 0;
  std::size_t max_piece_bytes_ = 0;
  bool words_begin_at_spaces_ = true;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_VOCAB_HPP_

// --- inlay/text/sentencepiece_bpe.hpp

// SentencePiece's byte-pair encoding ("llama" in GGUF files, "SPM" in llama.cpp): of all neighbours whose joined
// spelling is a piece, the pair with the best score is joined first, until no pair is left. What remains unspelled
// becomes bytes. Source: Kudo and Richardson, "SentencePiece", 2018; ids as llama.cpp computes them.
#ifndef INLAY_TEXT_SENTENCEPIECE_BPE_HPP_
#define INLAY_TEXT_SENTENCEPIECE_BPE_HPP_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// Tokenises text that has no special tokens in it. Time O(n log n) in the longest stretch without a word border, linear
// beyond that; constant stack; memory from the caller.
class SentencePieceBpe {
 public:
  // Scratch bytes that are enough for every text of `text_bytes`. A text of ordinary words needs only what its longest
  // word needs.
  static constexpr std::size_t ScratchBytes(std::size_t text_bytes) {
    return (text_bytes + 1) * kBytesPerSymbol + alignof(Pair);
  }

  // Appends the tokens of `text` to `out`. `space_prefix`: as if the text began with one more space. `offset` is added
  // to the places that errors name.
  // Bytes that are no valid UTF-8, and characters without a piece, become byte tokens, so that nothing is lost; without
  // byte tokens, a valid character becomes the unknown token.
  // kMissing: a character has neither piece nor bytes nor unknown token. kOutOfMemory: scratch too small. kTooLarge: a
  // stretch without a word border of more than 1.4e9 bytes.
  static Result<void> Encode(const Vocabulary& vocabulary, std::string_view text, bool space_prefix, std::size_t offset,
                             std::span<std::byte> scratch, TokenWriter& out) {
    for (std::size_t begin = 0; begin < text.size();) {
      // No token reaches over a word's border (see words_begin_at_spaces), so each word can be encoded by itself: the
      // same ids, with a queue that stays in the cache.
      const std::size_t end = vocabulary.words_begin_at_spaces() ? WordEnd(vocabulary, text, begin) : text.size();
      SentencePieceBpe word(vocabulary);
      INLAY_CHECK_OK(word.Split(text.substr(begin, end - begin), space_prefix && begin == 0, offset + begin, scratch));
      word.Merge();
      INLAY_CHECK_OK(word.Write(offset + begin, out));
      begin = end;
    }
    return {};
  }

 private:
  // A stretch of the word that is one token so far; it ends where the next one starts.
  struct Symbol {
    std::uint32_t start;
    std::int32_t previous;
    std::int32_t next;  // kNone: the last; kMerged: no longer there
    TokenId id;         // kNoToken: a character that was not looked up yet
  };
  // Two neighbours that can become one. Stale when either has changed since: then the sizes do not add up.
  struct Pair {
    std::uint64_t rank;  // the best first: the score above, below it the place, turned round
    std::uint32_t size;
    TokenId id;

    std::int32_t left() const { return static_cast<std::int32_t>(~static_cast<std::uint32_t>(rank)); }
  };
  // The order of merging: the better score, then the place further left. One integer, because the queue's comparisons
  // are most of the work; a type, because a function's address is not inlined.
  struct Worse {
    bool operator()(const Pair& a, const Pair& b) const { return a.rank < b.rank; }
  };
  static std::uint64_t Rank(float score, std::int32_t left) {
    std::uint32_t bits = std::bit_cast<std::uint32_t>(score);
    if (bits == 0x80000000u) bits = 0;  // both zeros are one score
    const std::uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
    return std::uint64_t{ordered} << 32 | ~static_cast<std::uint32_t>(left);
  }
  static constexpr std::int32_t kNone = -1;
  static constexpr std::int32_t kMerged = -2;
  // A source byte becomes at most three (an escaped space) and one symbol. The queue starts with fewer pairs than there
  // are symbols, and each of fewer merges takes one pair out and puts two in.
  static constexpr std::size_t kBytesPerSymbol = kSpaceMark.size() + sizeof(Symbol) + 2 * sizeof(Pair);

  explicit SentencePieceBpe(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  // The bytes of a space at text[at]: written plainly, or already as the mark of this vocabulary; 0 when there is none.
  static std::size_t SpaceSize(const Vocabulary& vocabulary, std::string_view text, std::size_t at) {
    if (text[at] == ' ') return 1;
    const std::string_view mark = vocabulary.space();
    return text[at] == mark[0] && text.substr(at, mark.size()) == mark ? mark.size() : 0;
  }

  // Where the word that starts at `begin` ends: it is any number of spaces, then everything up to the next space.
  static std::size_t WordEnd(const Vocabulary& vocabulary, std::string_view text, std::size_t begin) {
    std::size_t at = begin;
    while (at < text.size()) {
      const std::size_t space = SpaceSize(vocabulary, text, at);
      if (space == 0) break;
      at += space;
    }
    while (at < text.size() && SpaceSize(vocabulary, text, at) == 0) ++at;
    return at;
  }

  // Copies the word with its spaces escaped, cuts it into characters and queues all neighbours that make a piece.
  Result<void> Split(std::string_view word, bool space_prefix, std::size_t offset, std::span<std::byte> scratch) {
    if (word.size() >= static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) / kSpaceMark.size()) {
      return FailAt(ErrorCode::kTooLarge, offset, "text", word.size(), " bytes without a word border");
    }
    const std::size_t most = word.size() + 1;
    void* memory = scratch.data();
    std::size_t room = scratch.size();
    if (std::align(alignof(Pair), most * kBytesPerSymbol, memory, room) == nullptr) {
      return FailAt(ErrorCode::kOutOfMemory, offset, "scratch", "a stretch of ", word.size(), " bytes needs ",
                    ScratchBytes(word.size()), ", there are ", scratch.size());
    }
    std::byte* next = static_cast<std::byte*>(memory);
    pairs_ = {reinterpret_cast<Pair*>(next), 2 * most};
    next += pairs_.size_bytes();
    symbols_ = {reinterpret_cast<Symbol*>(next), most};
    next += symbols_.size_bytes();
    char* text = reinterpret_cast<char*>(next);

    std::size_t size = 0;
    const std::string_view space = vocabulary_.space();
    if (space_prefix) size += space.copy(text, space.size());
    for (const char c : word) {
      if (c == ' ') {
        size += space.copy(text + size, space.size());
      } else {
        text[size++] = c;
      }
    }
    text_ = {text, size};

    std::int32_t count = 0;
    for (std::size_t at = 0; at < size; ++count) {
      symbols_[static_cast<std::size_t>(count)] = {static_cast<std::uint32_t>(at), count - 1, count + 1, kNoToken};
      at += CharacterSize(at);
    }
    symbols_[static_cast<std::size_t>(count - 1)].next = kNone;
    for (std::int32_t left = 0; left + 1 < count; ++left) {
      if (MakePair(left)) ++pair_count_;
    }
    std::make_heap(pairs_.begin(), PairsEnd(), Worse());
    return {};
  }

  // By the first byte alone, as llama.cpp does it: an invalid sequence takes along bytes that follow. But never a
  // space, which would come back as the bytes of its escape.
  std::size_t CharacterSize(std::size_t at) const {
    const std::size_t size = std::min(Utf8SizeByLead(text_[at]), text_.size() - at);
    for (std::size_t i = 1; i < size; ++i) {
      if (SpaceSize(vocabulary_, text_, at + i) != 0) return i;
    }
    return size;
  }

  void Merge() {
    while (pair_count_ != 0) {
      std::pop_heap(pairs_.begin(), PairsEnd(), Worse());
      const Pair pair = pairs_[--pair_count_];
      Symbol& left = At(pair.left());
      if (left.next < 0 || End(left.next) - left.start != pair.size) continue;
      Symbol& right = At(left.next);
      left.id = pair.id;
      left.next = right.next;
      right.next = kMerged;
      if (left.next != kNone) At(left.next).previous = pair.left();
      if (left.previous != kNone) Push(left.previous);
      Push(pair.left());
    }
  }

  Result<void> Write(std::size_t offset, TokenWriter& out) const {
    for (std::int32_t i = 0; i != kNone; i = At(i).next) {
      const std::string_view text = text_.substr(At(i).start, End(i) - At(i).start);
      const TokenId id = At(i).id != kNoToken ? At(i).id : vocabulary_.FindText(text);
      if (id != kNoToken) {
        out.Push(id);
      } else {
        INLAY_CHECK_OK(WriteBytes(text == vocabulary_.space() ? " " : text, offset, out));
      }
    }
    return {};
  }

  Result<void> WriteBytes(std::string_view text, std::size_t offset, TokenWriter& out) const {
    const auto token_of = [this](const char& byte) {
      const TokenId id = vocabulary_.ByteToken(static_cast<std::uint8_t>(byte));
      return id != kNoToken ? id : vocabulary_.FindText({&byte, 1});
    };
    if (std::all_of(text.begin(), text.end(), [&](const char& byte) { return token_of(byte) != kNoToken; })) {
      for (const char& byte : text) out.Push(token_of(byte));
      return {};
    }
    const TokenId unknown = vocabulary_.special().unknown;
    if (unknown == kNoToken || !IsValidUtf8(text)) {
      return FailAt(ErrorCode::kMissing, offset, "text",
                    "the vocabulary has no tokens for bytes, and in the word here is ",
                    unknown == kNoToken ? "a character that it does not know" : "text that is not valid UTF-8");
    }
    out.Push(unknown);
    return {};
  }

  // Writes the pair of `left` and its neighbour behind the queue; false when they are no piece together.
  bool MakePair(std::int32_t left) {
    const Symbol& symbol = At(left);
    const std::uint32_t size = End(symbol.next) - symbol.start;
    const TokenId id = vocabulary_.FindText(text_.substr(symbol.start, size));
    if (id == kNoToken) return false;
    pairs_[pair_count_] = {Rank(vocabulary_.Score(id), left), size, id};
    return true;
  }
  void Push(std::int32_t left) {
    if (At(left).next == kNone || !MakePair(left)) return;
    ++pair_count_;
    std::push_heap(pairs_.begin(), PairsEnd(), Worse());
  }

  Symbol& At(std::int32_t i) { return symbols_[static_cast<std::size_t>(i)]; }
  const Symbol& At(std::int32_t i) const { return symbols_[static_cast<std::size_t>(i)]; }
  std::uint32_t End(std::int32_t i) const {
    const std::int32_t next = At(i).next;
    return next == kNone ? static_cast<std::uint32_t>(text_.size()) : At(next).start;
  }
  std::span<Pair>::iterator PairsEnd() const { return pairs_.begin() + static_cast<std::ptrdiff_t>(pair_count_); }

  const Vocabulary& vocabulary_;
  std::string_view text_;  // the word, escaped
  std::span<Symbol> symbols_;
  std::span<Pair> pairs_;  // a heap of pair_count_, the best in front
  std::size_t pair_count_ = 0;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_SENTENCEPIECE_BPE_HPP_

// --- inlay/text/tokenizer.hpp

// Text to tokens and back, whatever the algorithm of the vocabulary: reads vocabularies from files, finds special
// tokens in text, hands the rest to the algorithm.
#ifndef INLAY_TEXT_TOKENIZER_HPP_
#define INLAY_TEXT_TOKENIZER_HPP_

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <optional>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// How a vocabulary cuts text into tokens.
enum class TokenizerModel : std::uint8_t {
  kSentencePieceBpe,
};

struct EncodeOptions {
  // Puts the tokens around the text that the model was trained with (beginning, end of sequence), as its file says.
  bool add_special = true;
  // Reads control tokens, as "<|end|>", from the text. Only for text of the program's own: in text of a user they would
  // let the user steer the model. User-defined tokens are read in any case.
  bool parse_special = false;
};

// Immutable: any number of threads may use one. Holds views of the file and of the arena, which must outlive it; small
// and cheap to copy.
class Tokenizer {
 public:
  // --- opening ---

  // Arena bytes that are enough for a vocabulary of `vocab` tokens.
  static constexpr std::size_t MaxArenaBytes(std::size_t vocab) { return Vocabulary::MaxArenaBytes(vocab); }
  // Arena bytes that are enough for the vocabulary in `file`; the errors of FromGguf for a file without one.
  static Result<std::size_t> ArenaBytesFor(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const GgufArray tokens, file.GetArray("tokenizer.ggml.tokens", GgufType::kString));
    return MaxArenaBytes(static_cast<std::size_t>(tokens.count));
  }

  // The vocabulary of a GGUF file. Everything is checked here; the errors name the key and the byte.
  // kMissing: a key that is needed. kUnsupported: an algorithm that this library does not have. kMismatch: a key of
  // another type, or arrays of different lengths. kBadFile: no tokens, token types, special ids, byte tokens, equal
  // pieces. kNonFinite: scores. kTooLarge: long pieces. kOutOfMemory: arena.
  static Result<Tokenizer> FromGguf(const GgufFile& file, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view model, file.GetString("tokenizer.ggml.model"));
    if (model != "llama") {
      return FailAt(ErrorCode::kUnsupported, file.Find("tokenizer.ggml.model")->offset, "tokenizer.ggml.model", "\"",
                    model, "\" is not an algorithm of this version; it has \"llama\" (SentencePiece BPE)");
    }
    INLAY_ASSIGN_OR_RETURN(const GgufArray pieces, file.GetArray("tokenizer.ggml.tokens", GgufType::kString));
    const std::size_t count = static_cast<std::size_t>(pieces.count);
    const std::string_view text(reinterpret_cast<const char*>(pieces.bytes.data()), pieces.bytes.size());
    INLAY_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(text, count, arena));
    INLAY_ASSIGN_OR_RETURN(const GgufArray scores, file.GetArray("tokenizer.ggml.scores", GgufType::kF32));
    INLAY_CHECK_OK(CheckCount("tokenizer.ggml.scores", scores, count));
    INLAY_ASSIGN_OR_RETURN(const SpecialTokens special, ReadSpecialTokens(file, count));
    std::optional<GgufArray> types;
    if (file.Find("tokenizer.ggml.token_type")) {
      INLAY_ASSIGN_OR_RETURN(types, file.GetArray("tokenizer.ggml.token_type", GgufType::kI32));
      INLAY_CHECK_OK(CheckCount("tokenizer.ggml.token_type", *types, count));
    }

    std::size_t id = 0;
    for (const std::string_view piece : pieces.strings()) {
      const std::uint64_t offset = pieces.offset + static_cast<std::uint64_t>(piece.data() - text.data());
      TokenAttributes attributes = InferAttributes(static_cast<TokenId>(id), piece, special);
      if (types) {
        INLAY_ASSIGN_OR_RETURN(attributes, AttributesOfType(*types, id));
      }
      INLAY_CHECK_OK(vocabulary.Add(piece, scores.at<float>(id), attributes, offset));
      ++id;
    }
    return Complete(file, vocabulary, special, arena);
  }

  // The vocabulary of llama2.c's tokenizer.bin, which does not say how many tokens it has: `vocab` is the model's
  // number. Token 0 is unknown, 1 begins and 2 ends a sequence; 1 also ends generation. Errors: those of
  // Llama2cTokenizer::Open, and those of FromGguf about tokens.
  static Result<Tokenizer> FromLlama2c(std::span<const std::byte> tokenizer_bin, std::size_t vocab, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const Llama2cTokenizer file, Llama2cTokenizer::Open(tokenizer_bin, vocab));
    const std::string_view text(reinterpret_cast<const char*>(tokenizer_bin.data()), tokenizer_bin.size());
    INLAY_ASSIGN_OR_RETURN(Vocabulary vocabulary, Vocabulary::Create(text, vocab, arena));
    const SpecialTokens special{.bos = 1, .eos = 2, .unknown = 0};
    TokenId id = 0;
    for (const Llama2cPiece piece : file) {
      TokenAttributes attributes = InferAttributes(id, piece.text, special);
      if (id == special.bos) attributes |= kTokenEndsGeneration;
      const std::uint64_t offset = static_cast<std::uint64_t>(piece.text.data() - text.data());
      INLAY_CHECK_OK(vocabulary.Add(piece.text, piece.score, attributes, offset));
      ++id;
    }
    INLAY_CHECK_OK(vocabulary.Finish(special, " ", arena));
    Tokenizer tokenizer(vocabulary);
    tokenizer.add_bos_ = true;
    return tokenizer;
  }

  // --- text to tokens ---

  // Scratch bytes with which Encode never fails for a text of `text_bytes`. Less is enough for ordinary text: what
  // EncodeScratchBytes gives for the longest stretch of it without a word border.
  static constexpr std::size_t EncodeScratchBytes(std::size_t text_bytes) {
    return SentencePieceBpe::ScratchBytes(text_bytes);
  }
  // No text of `text_bytes` has more tokens: a byte is at most one token, and a prefix space is one more token for the
  // beginning and after each special token.
  static constexpr std::size_t MaxTokens(std::size_t text_bytes) { return 2 * text_bytes + 3; }

  // The tokens of `text` (any bytes: NUL is a character, invalid UTF-8 becomes byte tokens); returns their number. Ids
  // are those of llama.cpp, except where special tokens overlap in the text: the one that starts first wins, not the
  // longest. kTooLarge: `out` is too small; the error says how many tokens there are, and `out` holds the first of
  // them. kOutOfMemory: `scratch` is too small. kMissing: the vocabulary cannot spell the text.
  // Time as the algorithm's (see sentencepiece_bpe.hpp), constant stack, no allocation.
  Result<std::size_t> Encode(std::string_view text, const EncodeOptions& options, std::span<std::byte> scratch,
                             std::span<TokenId> out) const {
    TokenWriter writer(out);
    if (options.add_special && add_bos_) writer.Push(vocabulary_.special().bos);
    for (std::size_t at = 0; at < text.size();) {
      const Vocabulary::Match match = vocabulary_.FindSpecial(text, at, options.parse_special);
      const std::size_t end = std::min(match.start, text.size());
      if (end > at) {
        // What stands between special tokens begins like a text of its own.
        INLAY_CHECK_OK(
            SentencePieceBpe::Encode(vocabulary_, text.substr(at, end - at), add_space_prefix_, at, scratch, writer));
      }
      at = end;
      if (match.id == kNoToken) continue;
      writer.Push(match.id);
      at += vocabulary_.PieceSize(match.id);
      if ((vocabulary_.Attributes(match.id) & kTokenStripsRight) != 0) {
        while (at < text.size() && IsWhiteSpace(text[at])) ++at;
      }
    }
    if (options.add_special && add_eos_) writer.Push(vocabulary_.special().eos);
    if (writer.overflowed()) {
      return Fail(ErrorCode::kTooLarge, "text", "has ", writer.count(), " tokens, there is room for ", out.size());
    }
    return writer.count();
  }

  // --- tokens to text ---

  // Writes the bytes of one token to `out` and returns their number, as llama.cpp's token_to_piece does: a byte token
  // is its byte, U+2581 becomes a space; control and unknown tokens are nothing, or their piece with `special`; unused
  // ones are nothing. The bytes may be part of a character: see Detokenizer for a stream of text.
  // kInvalidArgument: no such token. kTooLarge: `out` is too small (max_piece_bytes() is always enough).
  Result<std::size_t> Decode(TokenId id, std::span<char> out, bool special = false) const {
    if (!vocabulary_.Contains(id)) {
      return Fail(ErrorCode::kInvalidArgument, "token", "id ", id, " in a vocabulary of ", size(), " tokens");
    }
    const TokenAttributes attributes = vocabulary_.Attributes(id);
    const std::string_view piece = vocabulary_.Piece(id);
    std::size_t count = 0;
    const auto put = [&](std::string_view bytes) {
      if (count + bytes.size() <= out.size()) bytes.copy(out.data() + count, bytes.size());
      count += bytes.size();
    };
    if ((attributes & (kTokenControl | kTokenUnknown)) != 0) {
      if (special) put(piece);
    } else if ((attributes & kTokenUserDefined) != 0) {
      put(piece);
    } else if ((attributes & kTokenByte) != 0) {
      const char byte = static_cast<char>(Vocabulary::ByteValue(piece));
      put({&byte, 1});
    } else if ((attributes & kTokenNormal) != 0) {
      const std::string_view space = vocabulary_.space();
      for (std::size_t at = 0; at < piece.size();) {
        const std::size_t next = std::min(piece.find(space, at), piece.size());
        put(piece.substr(at, next - at));
        if (next != piece.size()) put(" ");
        at = next + space.size();
      }
    }
    if (count > out.size()) {
      return Fail(ErrorCode::kTooLarge, "token", "id ", id, " has ", count, " bytes, there is room for ", out.size());
    }
    return count;
  }

  // The most bytes that Decode writes.
  std::size_t max_piece_bytes() const { return std::max<std::size_t>(vocabulary_.max_piece_bytes(), 1); }
  // The piece as the file writes it; empty when there is no such token.
  std::string_view RawPiece(TokenId id) const {
    return vocabulary_.Contains(id) ? vocabulary_.Piece(id) : std::string_view();
  }

  // --- facts ---

  TokenizerModel model() const { return TokenizerModel::kSentencePieceBpe; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  std::size_t size() const { return vocabulary_.size(); }
  const SpecialTokens& special() const { return vocabulary_.special(); }
  TokenId bos() const { return special().bos; }
  TokenId eos() const { return special().eos; }
  // True for every token after which a model has finished (end of sequence, turn or message). False for no token.
  bool EndsGeneration(TokenId id) const {
    return vocabulary_.Contains(id) && (vocabulary_.Attributes(id) & kTokenEndsGeneration) != 0;
  }
  bool add_bos() const { return add_bos_; }
  bool add_eos() const { return add_eos_; }
  bool add_space_prefix() const { return add_space_prefix_; }

 private:
  explicit Tokenizer(const Vocabulary& vocabulary) : vocabulary_(vocabulary) {}

  static constexpr bool IsWhiteSpace(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  static Result<void> CheckCount(std::string_view key, const GgufArray& array, std::size_t count) {
    if (array.count == count) return {};
    return FailAt(ErrorCode::kMismatch, array.offset, key, "has ", array.count, " elements for ", count, " tokens");
  }

  // GGUF's tokenizer.ggml.token_type; 0 is undefined.
  static Result<TokenAttributes> AttributesOfType(const GgufArray& types, std::size_t id) {
    constexpr std::array<TokenAttributes, 7> kOfType = {
        0, kTokenNormal, kTokenUnknown, kTokenControl, kTokenUserDefined, kTokenUnused, kTokenByte};
    const std::int32_t type = types.at<std::int32_t>(id);
    if (type < 0 || static_cast<std::size_t>(type) >= kOfType.size()) {
      return FailAt(ErrorCode::kBadFile, types.offset + id * sizeof(type), "tokenizer.ggml.token_type", "type ", type,
                    " of token ", id, " is not one of 0 to 6");
    }
    return kOfType[static_cast<std::size_t>(type)];
  }

  // For files that do not say.
  static TokenAttributes InferAttributes(TokenId id, std::string_view piece, const SpecialTokens& special) {
    if (id == special.unknown) return kTokenUnknown;
    if (id == special.bos || id == special.eos) return kTokenControl;
    return Vocabulary::ByteValue(piece) >= 0 ? kTokenByte : kTokenNormal;
  }

  // An id in the metadata; `fallback` (if there is such a token) when the key is absent.
  static Result<TokenId> ReadId(const GgufFile& file, std::string_view key, TokenId fallback, std::size_t count) {
    const std::optional<GgufValue> value = file.Find(key);
    if (!value) return static_cast<std::size_t>(fallback) < count ? fallback : kNoToken;
    INLAY_ASSIGN_OR_RETURN(const std::uint64_t id, value->AsUnsigned());
    if (id >= count) {
      return FailAt(ErrorCode::kBadFile, value->offset, key, "is ", id, " in a vocabulary of ", count, " tokens");
    }
    return static_cast<TokenId>(id);
  }

  static Result<SpecialTokens> ReadSpecialTokens(const GgufFile& file, std::size_t count) {
    SpecialTokens special;
    // Defaults of this algorithm, as in the first models that used it.
    INLAY_ASSIGN_OR_RETURN(special.bos, ReadId(file, "tokenizer.ggml.bos_token_id", 1, count));
    INLAY_ASSIGN_OR_RETURN(special.eos, ReadId(file, "tokenizer.ggml.eos_token_id", 2, count));
    INLAY_ASSIGN_OR_RETURN(special.unknown, ReadId(file, "tokenizer.ggml.unknown_token_id", 0, count));
    INLAY_ASSIGN_OR_RETURN(special.eot, ReadId(file, "tokenizer.ggml.eot_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.eom, ReadId(file, "tokenizer.ggml.eom_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.separator, ReadId(file, "tokenizer.ggml.seperator_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.padding, ReadId(file, "tokenizer.ggml.padding_token_id", kNoToken, count));
    INLAY_ASSIGN_OR_RETURN(special.mask, ReadId(file, "tokenizer.ggml.mask_token_id", kNoToken, count));
    return special;
  }

  static Result<bool> ReadFlag(const GgufFile& file, std::string_view key, bool fallback) {
    const std::optional<GgufValue> value = file.Find(key);
    if (!value) return fallback;
    return value->AsBool();
  }

  // A default id is meant only where the token there is one of that kind; no ordinary piece begins sequences.
  static TokenId KeepIfMeant(const GgufFile& file, std::string_view key, TokenId id, const Vocabulary& vocabulary) {
    if (id == kNoToken || file.Find(key)) return id;
    return (vocabulary.Attributes(id) & (kTokenControl | kTokenUnknown)) != 0 ? id : kNoToken;
  }

  // What follows from spellings and names instead of from metadata, then the flags.
  static Result<Tokenizer> Complete(const GgufFile& file, Vocabulary& vocabulary, SpecialTokens special, Arena& arena) {
    special.bos = KeepIfMeant(file, "tokenizer.ggml.bos_token_id", special.bos, vocabulary);
    special.eos = KeepIfMeant(file, "tokenizer.ggml.eos_token_id", special.eos, vocabulary);
    special.unknown = KeepIfMeant(file, "tokenizer.ggml.unknown_token_id", special.unknown, vocabulary);
    // Files seldom list all tokens that end a turn; these spellings do so in every model that has them. llama.cpp takes
    // them for control tokens even where the file does not.
    // clang-format off
    constexpr std::string_view kEndings[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
        "[EOT]", "[EOS]", "<end_of_utterance>", "</s>", "<eos>", "<turn|>", "<|tool_response>", "<|eom_id|>",
        "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "[e~["};
    // clang-format on
    constexpr std::size_t kTurnEndings = 9;  // the first of them that exists ends a turn when no key says which does
    for (std::size_t i = 0; i < std::size(kEndings); ++i) {
      const TokenId id = vocabulary.Find(kEndings[i]);
      if (id == kNoToken) continue;
      vocabulary.AddAttributes(id, kTokenControl | kTokenEndsGeneration);
      if (special.eot == kNoToken && i < kTurnEndings) special.eot = id;
    }
    // Phi-3 was trained with the white space after its markers removed; no key says so, only the model's name.
    if (const Result<std::string_view> name = file.GetString("general.name"); name && IsPhi3(*name)) {
      for (TokenId id = 0; vocabulary.Contains(id); ++id) {
        constexpr TokenAttributes kMarkers = kTokenControl | kTokenUnknown | kTokenUserDefined;
        const std::string_view piece = vocabulary.Piece(id);
        const bool keeps = piece == "<unk>" || piece == "<s>" || piece == "<|endoftext|>";
        if ((vocabulary.Attributes(id) & kMarkers) != 0 && !keeps) vocabulary.AddAttributes(id, kTokenStripsRight);
      }
    }
    INLAY_CHECK_OK(vocabulary.Finish(special, kSpaceMark, arena));

    Tokenizer tokenizer(vocabulary);
    INLAY_ASSIGN_OR_RETURN(tokenizer.add_bos_, ReadFlag(file, "tokenizer.ggml.add_bos_token", special.bos != kNoToken));
    INLAY_ASSIGN_OR_RETURN(tokenizer.add_eos_, ReadFlag(file, "tokenizer.ggml.add_eos_token", false));
    INLAY_ASSIGN_OR_RETURN(tokenizer.add_space_prefix_, ReadFlag(file, "tokenizer.ggml.add_space_prefix", true));
    if (tokenizer.add_bos_ && special.bos == kNoToken) {
      return Fail(ErrorCode::kMissing, "tokenizer.ggml.bos_token_id",
                  "needed, as tokenizer.ggml.add_bos_token is true");
    }
    if (tokenizer.add_eos_ && special.eos == kNoToken) {
      return Fail(ErrorCode::kMissing, "tokenizer.ggml.eos_token_id",
                  "needed, as tokenizer.ggml.add_eos_token is true");
    }
    return tokenizer;
  }

  static bool IsPhi3(std::string_view name) {
    const auto contains = [name](std::string_view wanted) {
      return std::search(name.begin(), name.end(), wanted.begin(), wanted.end(), [](char a, char b) {
               return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b;
             }) != name.end();
    };
    return contains("phi-3") || contains("phi3");
  }

  Vocabulary vocabulary_;
  bool add_bos_ = false;
  bool add_eos_ = false;
  bool add_space_prefix_ = true;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_TOKENIZER_HPP_

// --- inlay/text/detokenizer.hpp

// A stream of tokens to a stream of text that can be printed as it comes: no character is ever cut in two.
#ifndef INLAY_TEXT_DETOKENIZER_HPP_
#define INLAY_TEXT_DETOKENIZER_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// Which space, that the tokeniser put before the text and nobody wrote, is taken off again.
enum class LeadingSpace : std::uint8_t {
  kKeep,
  kStripAfterBos,  // one that begins the token after a beginning-of-sequence token, as llama2.c does
  kStripFirst,     // one that begins the first token, where the vocabulary adds one, as llama.cpp's detokenize does
};

struct DetokenizeOptions {
  // Writes control and unknown tokens as their pieces instead of leaving them out.
  bool special = false;
  LeadingSpace leading_space = LeadingSpace::kStripAfterBos;
};

// Turns the tokens of one sequence into text. A character whose bytes are spread over tokens is held back until it is
// complete; bytes that can no longer become a character pass unchanged. Holds a reference to the tokeniser, which must
// outlive it. Its memory is taken from the arena at creation; Feed allocates nothing.
class Detokenizer {
 public:
  // The arena bytes that Create takes.
  static std::size_t MemoryBytes(const Tokenizer& tokenizer) {
    return ArenaBytes<char>(kMaxHeld + tokenizer.max_piece_bytes());
  }

  static Result<Detokenizer> Create(const Tokenizer& tokenizer, const DetokenizeOptions& options, Arena& arena) {
    INLAY_ASSIGN_OR_RETURN(const std::span<char> buffer,
                           arena.Allocate<char>(kMaxHeld + tokenizer.max_piece_bytes(), "detokenizer"));
    return Detokenizer(tokenizer, options, buffer);
  }

  // The text that `token` completes: empty, or whole characters. Valid until the next call.
  // kInvalidArgument: no such token; nothing changes then.
  Result<std::string_view> Feed(TokenId token) {
    // What was returned last time makes room; what was held back then is the beginning now.
    std::memmove(buffer_.data(), buffer_.data() + returned_, held_);
    returned_ = 0;
    INLAY_ASSIGN_OR_RETURN(std::size_t size, tokenizer_->Decode(token, buffer_.subspan(held_), options_.special));
    const bool strip = strip_next_ && size != 0 && buffer_[held_] == ' ';
    if (strip) std::memmove(buffer_.data() + held_, buffer_.data() + held_ + 1, --size);
    strip_next_ = options_.leading_space == LeadingSpace::kStripAfterBos && token == tokenizer_->bos();

    const std::string_view text(buffer_.data(), held_ + size);
    held_ = IncompleteUtf8Suffix(text);
    returned_ = text.size() - held_;
    return text.substr(0, returned_);
  }

  // The bytes still held back, at the end of the sequence: the beginning of a character that never came. Starts anew.
  // Valid until the next call.
  std::string_view Flush() {
    const std::string_view rest(buffer_.data() + returned_, held_);
    Reset();
    return rest;
  }

  // Forgets what is held back and begins a new sequence.
  void Reset() {
    held_ = 0;
    returned_ = 0;
    strip_next_ = options_.leading_space == LeadingSpace::kStripFirst && tokenizer_->add_space_prefix();
  }

 private:
  // A character of four bytes lacks at least one.
  static constexpr std::size_t kMaxHeld = 3;

  Detokenizer(const Tokenizer& tokenizer, const DetokenizeOptions& options, std::span<char> buffer)
      : tokenizer_(&tokenizer), options_(options), buffer_(buffer) {
    Reset();
  }

  const Tokenizer* tokenizer_;
  DetokenizeOptions options_;
  std::span<char> buffer_;  // [what was returned | what is held back | room]
  std::size_t returned_ = 0;
  std::size_t held_ = 0;
  bool strip_next_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_DETOKENIZER_HPP_

// --- inlay/text/stop_strings.hpp

// Finds stop strings in a stream of text, wherever the borders of tokens fall in them.
#ifndef INLAY_TEXT_STOP_STRINGS_HPP_
#define INLAY_TEXT_STOP_STRINGS_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// What StopMatcher::Feed found.
struct StopResult {
  static constexpr std::size_t kNone = ~std::size_t{0};

  std::string_view text;     // may be shown: no stop string can begin in it any more
  std::size_t stop = kNone;  // which stop string was found; the text ends before it

  bool stopped() const { return stop != kNone; }
};

// Passes text on and holds back bytes that may begin a stop string until it is clear whether they do. The stop string
// that is complete first counts; of several that end at the same byte, the longest. How the text is cut into pieces
// does not change the outcome. Time: linear in text times number of stop strings (Knuth, Morris and Pratt, 1977).
class StopMatcher {
 public:
  // The arena bytes that Create takes.
  static constexpr std::size_t MemoryBytes(std::span<const std::string_view> stops, std::size_t max_chunk) {
    const Sizes sizes = SizesOf(stops);
    return ArenaBytes<Stop>(stops.size()) + ArenaBytes<char>(sizes.total) + ArenaBytes<std::uint32_t>(sizes.total) +
           ArenaBytes<char>(sizes.longest + max_chunk);
  }

  // The stop strings are copied. `max_chunk`: the longest piece of text that Feed is given at once (for a Detokenizer:
  // max_piece_bytes() + 3). No stop strings at all is fine: then nothing is ever held back.
  // kInvalidArgument: an empty stop string. kTooLarge: stop strings of 4 GiB. kOutOfMemory.
  static Result<StopMatcher> Create(std::span<const std::string_view> stops, std::size_t max_chunk, Arena& arena) {
    const Sizes sizes = SizesOf(stops);
    if (sizes.total > std::numeric_limits<std::uint32_t>::max()) {
      return Fail(ErrorCode::kTooLarge, "stop strings", "have ", sizes.total, " bytes together");
    }
    StopMatcher matcher;
    INLAY_ASSIGN_OR_RETURN(matcher.stops_, arena.Allocate<Stop>(stops.size(), "stop strings"));
    INLAY_ASSIGN_OR_RETURN(const std::span<char> texts, arena.Allocate<char>(sizes.total, "stop strings"));
    INLAY_ASSIGN_OR_RETURN(const std::span<std::uint32_t> borders,
                           arena.Allocate<std::uint32_t>(sizes.total, "stop strings"));
    INLAY_ASSIGN_OR_RETURN(matcher.buffer_, arena.Allocate<char>(sizes.longest + max_chunk, "stop strings"));
    std::size_t used = 0;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      if (stops[i].empty()) return Fail(ErrorCode::kInvalidArgument, "stop strings", "stop string ", i, " is empty");
      stops[i].copy(texts.data() + used, stops[i].size());
      matcher.stops_[i] = {{texts.data() + used, stops[i].size()}, borders.subspan(used, stops[i].size()), 0};
      ComputeBorders(matcher.stops_[i]);
      used += stops[i].size();
    }
    return matcher;
  }

  // Takes the next piece of text; returns what may be shown now. The text is valid until the next call. After a stop
  // nothing more is taken until Reset: the result is that stop again, with no text. kTooLarge: more than max_chunk
  // bytes at once; nothing changes then.
  Result<StopResult> Feed(std::string_view text) {
    std::memmove(buffer_.data(), buffer_.data() + returned_, held_);
    returned_ = 0;
    if (stop_ != StopResult::kNone) return StopResult{{}, stop_};
    if (text.size() > buffer_.size() - held_) {
      return Fail(ErrorCode::kTooLarge, "text", text.size(), " bytes at once; the stop strings were set up for ",
                  buffer_.size() - held_);
    }
    const std::size_t begin = held_;
    text.copy(buffer_.data() + begin, text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      const std::size_t found = Step(text[i]);
      if (found == StopResult::kNone) continue;
      stop_ = found;
      held_ = 0;
      return StopResult{{buffer_.data(), begin + i + 1 - stops_[found].text.size()}, found};
    }
    held_ = 0;
    for (const Stop& stop : stops_) held_ = std::max<std::size_t>(held_, stop.matched);
    returned_ = begin + text.size() - held_;
    return StopResult{{buffer_.data(), returned_}};
  }

  // What is held back, at the end of the text: it was no stop string. Starts anew. Valid until the next call.
  std::string_view Flush() {
    const std::string_view rest(buffer_.data() + returned_, held_);
    Reset();
    return rest;
  }

  // Forgets everything that was fed.
  void Reset() {
    for (Stop& stop : stops_) stop.matched = 0;
    held_ = 0;
    returned_ = 0;
    stop_ = StopResult::kNone;
  }

 private:
  struct Stop {
    std::string_view text;
    std::span<std::uint32_t> borders;  // [i]: the longest proper beginning of the text that text[0..i] ends in
    std::uint32_t matched;             // bytes of the text that the stream ends in
  };
  struct Sizes {
    std::size_t total = 0;
    std::size_t longest = 0;
  };

  StopMatcher() = default;

  static constexpr Sizes SizesOf(std::span<const std::string_view> stops) {
    Sizes sizes;
    for (const std::string_view stop : stops) {
      sizes.total += stop.size();
      sizes.longest = std::max(sizes.longest, stop.size());
    }
    return sizes;
  }

  static void ComputeBorders(Stop& stop) {
    std::uint32_t border = 0;
    stop.borders[0] = 0;
    for (std::size_t i = 1; i < stop.text.size(); ++i) {
      while (border != 0 && stop.text[i] != stop.text[border]) border = stop.borders[border - 1];
      if (stop.text[i] == stop.text[border]) ++border;
      stop.borders[i] = border;
    }
  }

  // The longest stop string that `byte` completes.
  std::size_t Step(char byte) {
    std::size_t found = StopResult::kNone;
    for (std::size_t i = 0; i < stops_.size(); ++i) {
      Stop& stop = stops_[i];
      while (stop.matched != 0 && stop.text[stop.matched] != byte) stop.matched = stop.borders[stop.matched - 1];
      if (stop.text[stop.matched] == byte) ++stop.matched;
      if (stop.matched != stop.text.size()) continue;
      if (found == StopResult::kNone || stop.text.size() > stops_[found].text.size()) found = i;
    }
    return found;
  }

  std::span<Stop> stops_;
  std::span<char> buffer_;  // [what was returned | what is held back | room]
  std::size_t returned_ = 0;
  std::size_t held_ = 0;
  std::size_t stop_ = StopResult::kNone;
};

INLAY_END_NAMESPACE

#endif  // INLAY_TEXT_STOP_STRINGS_HPP_

// --- inlay/generate/generation.hpp

// Generation: samples tokens from a session and streams them as text.
#ifndef INLAY_GENERATE_GENERATION_HPP_
#define INLAY_GENERATE_GENERATION_HPP_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// Why a generation ended.
enum class FinishReason : std::uint8_t {
  kNone,        // it has not
  kEndOfText,   // the model ended the text or its turn
  kMaxTokens,   // GenerateOptions::max_tokens
  kStopString,  // one of GenerateOptions::stop
  kError,       // see Generation::status(): context full, cancelled, non-finite logits
};

constexpr std::string_view Name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "none";
    case FinishReason::kEndOfText: return "end of text";
    case FinishReason::kMaxTokens: return "token limit";
    case FinishReason::kStopString: return "stop string";
    case FinishReason::kError: return "error";
  }
  return "unknown";
}

struct GenerateOptions {
  std::size_t max_tokens = 256;
  SamplerOptions sampling = {};
  // Generation ends before the first of these appears in the text. The strings outlive the generation.
  std::span<const std::string_view> stop = {};
  // Tokens that end a text or turn stop the generation; false: they are tokens like others (for benchmarks).
  bool stop_at_end_of_text = true;
  // Set from any thread or signal handler; looked at before every token. Outlives the generation.
  const std::atomic<bool>* cancel = nullptr;
};

// Text that follows what a session has read, piece by piece:
//
//   auto generation = Generation<AnyModel>::Create(session, tokenizer, prompt, options, memory, executor);
//   for (std::string_view text : *generation) std::cout << text;
//   if (!generation->status()) ...
//
// Each piece is whole UTF-8 characters (except where the model wrote bytes that are none) and may be empty. The last token
// sampled is not yet in the session when the generation ends: pass token() to Session::Append to go on after it.
template <class ModelType>
class Generation {
 public:
  // Bytes that Create takes from the memory handed over, exactly.
  static std::size_t MemoryBytes(const ModelType& model, const Tokenizer& tokenizer, const GenerateOptions& options) {
    return Sampler::MemoryBytes(options.sampling, model.config().vocab) + Detokenizer::MemoryBytes(tokenizer) +
           StopMatcher::MemoryBytes(options.stop, MaxText(tokenizer));
  }

  // Starts after what `session` has read; its last Append must have succeeded. `prompt`: the tokens before (all, or the
  // last few), for penalties, for the space after a beginning of sequence, and for a character that they left incomplete.
  // Everything passed outlives the generation. Errors: an option out of range, kOutOfMemory.
  static Result<Generation> Create(Session<ModelType>& session, const Tokenizer& tokenizer,
                                   std::span<const TokenId> prompt, const GenerateOptions& options,
                                   std::span<std::byte> memory, ExecutorRef executor) {
    const std::size_t needed = MemoryBytes(session.model(), tokenizer, options);
    if (memory.size() < needed) {
      return Fail(ErrorCode::kOutOfMemory, "generation memory", "needs ", needed, " bytes, has ", memory.size());
    }
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(memory));
    INLAY_ASSIGN_OR_RETURN(Sampler sampler,
                           Sampler::Create(options.sampling, session.model().config().vocab, arena));
    INLAY_ASSIGN_OR_RETURN(Detokenizer detokenizer, Detokenizer::Create(tokenizer, DetokenizeOptions{}, arena));
    INLAY_ASSIGN_OR_RETURN(StopMatcher stops, StopMatcher::Create(options.stop, MaxText(tokenizer), arena));
    for (const TokenId token : prompt) {
      sampler.Accept(token);
      INLAY_CHECK_OK(detokenizer.Feed(token));
    }
    return Generation(session, tokenizer, options, executor, sampler, detokenizer, stops);
  }

  // Samples the next token. False when there is none: see finish_reason(). Cost: a forward pass of one token.
  bool Next() {
    text_ = {};
    if (reason_ != FinishReason::kNone) return false;
    const Result<void> sampled = Sample();
    if (!sampled) {
      status_ = sampled;
      // What was held back was written before the error: it is delivered.
      if (!Finish(FinishReason::kError)) text_ = {};
    }
    return reason_ == FinishReason::kNone || !text_.empty();
  }

  std::string_view text() const { return text_; }    // of the last Next; valid until the next
  TokenId token() const { return token_; }           // the last one sampled; -1 before the first
  std::size_t tokens() const { return tokens_; }     // sampled so far
  FinishReason finish_reason() const { return reason_; }
  const Result<void>& status() const { return status_; }

  // For range-for; one pass.
  struct End {};
  class Iterator {
   public:
    explicit Iterator(Generation& generation) : generation_(&generation) {}
    std::string_view operator*() const { return generation_->text(); }
    Iterator& operator++() {
      more_ = generation_->Next();
      return *this;
    }
    bool operator==(End) const { return !more_; }

   private:
    friend class Generation;
    Generation* generation_;
    bool more_ = true;
  };
  Iterator begin() { return ++Iterator(*this); }
  End end() const { return {}; }

 private:
  Generation(Session<ModelType>& session, const Tokenizer& tokenizer, const GenerateOptions& options,
             ExecutorRef executor, const Sampler& sampler, const Detokenizer& detokenizer, const StopMatcher& stops)
      : session_(&session),
        tokenizer_(&tokenizer),
        options_(options),
        executor_(executor),
        sampler_(sampler),
        detokenizer_(detokenizer),
        stops_(stops) {}

  // The longest text that a detokenizer returns at once: a piece, and a character that was held back.
  static std::size_t MaxText(const Tokenizer& tokenizer) { return tokenizer.max_piece_bytes() + 3; }

  Result<void> Sample() {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      return Fail(ErrorCode::kCancelled, "generation", "stopped by the caller after ", tokens_, " tokens");
    }
    if (tokens_ == options_.max_tokens) return Finish(FinishReason::kMaxTokens);
    if (pending_) {
      INLAY_CHECK_OK(session_->Append({&token_, 1}, executor_));
      pending_ = false;
    }
    if (session_->logits().empty()) {
      return Fail(ErrorCode::kInvalidArgument, "session", "has no logits: append a prompt first");
    }
    INLAY_ASSIGN_OR_RETURN(token_, sampler_.Sample(session_->logits()));
    sampler_.Accept(token_);
    ++tokens_;
    pending_ = true;
    if (options_.stop_at_end_of_text && tokenizer_->EndsGeneration(token_)) return Finish(FinishReason::kEndOfText);
    INLAY_ASSIGN_OR_RETURN(const std::string_view text, detokenizer_.Feed(token_));
    INLAY_ASSIGN_OR_RETURN(const StopResult result, stops_.Feed(text));
    text_ = result.text;
    if (result.stopped()) reason_ = FinishReason::kStopString;
    return {};
  }

  // Nothing more comes: what was held back is text after all, unless it completes a stop string.
  Result<void> Finish(FinishReason reason) {
    reason_ = reason;
    INLAY_ASSIGN_OR_RETURN(const StopResult result, stops_.Feed(detokenizer_.Flush()));
    text_ = result.text;
    if (result.stopped()) {
      if (reason != FinishReason::kError) reason_ = FinishReason::kStopString;
      return {};
    }
    // The rest stands right behind the text in the matcher's buffer.
    const std::string_view rest = stops_.Flush();
    text_ = {rest.data() - text_.size(), text_.size() + rest.size()};
    return {};
  }

  Session<ModelType>* session_;
  const Tokenizer* tokenizer_;
  GenerateOptions options_;
  ExecutorRef executor_;
  Sampler sampler_;
  Detokenizer detokenizer_;
  StopMatcher stops_;
  std::string_view text_;
  TokenId token_ = -1;
  std::size_t tokens_ = 0;
  bool pending_ = false;
  FinishReason reason_ = FinishReason::kNone;
  Result<void> status_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_GENERATE_GENERATION_HPP_

// --- inlay/host/mapped_gguf.hpp

// A GGUF file on a machine with files and a heap: mapping, index and view in one object. Apart from model_file.hpp for
// tools that look at files without running them.
#ifndef INLAY_HOST_MAPPED_GGUF_HPP_
#define INLAY_HOST_MAPPED_GGUF_HPP_

#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <utility>

INLAY_BEGIN_NAMESPACE

inline bool StartsLikeGguf(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
}

// Owns the mapping and the index. Movable; views of the file stay valid as long as it, or what it was moved to, lives.
class MappedGguf {
 public:
  MappedGguf() = default;  // of no file, to be assigned to

  // Errors: kSystem (the file cannot be mapped) and those of GgufFile::Open.
  static Result<MappedGguf> Open(const char* path) {
    INLAY_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
    return Open(std::move(mapping));
  }
  static Result<MappedGguf> Open(MappedFile mapping) {
    MappedGguf opened;
    opened.mapping_ = std::move(mapping);
    INLAY_ASSIGN_OR_RETURN(opened.index_, OwnedBuffer::Create(GgufFile::IndexBytes(opened.bytes()), "file index"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(opened.index_.bytes()));
    INLAY_ASSIGN_OR_RETURN(opened.file_, GgufFile::Open(opened.bytes(), arena));
    return opened;
  }

  std::span<const std::byte> bytes() const { return mapping_.bytes(); }
  const MappedFile& mapping() const { return mapping_; }
  // nullptr when there is none.
  const GgufFile* file() const { return file_ ? &*file_ : nullptr; }

 private:
  MappedFile mapping_;
  OwnedBuffer index_;
  std::optional<GgufFile> file_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_MAPPED_GGUF_HPP_

// --- inlay/host/owned_tokenizer.hpp

// A tokenizer with memory of its own, for machines with a heap.
#ifndef INLAY_HOST_OWNED_TOKENIZER_HPP_
#define INLAY_HOST_OWNED_TOKENIZER_HPP_

#include <cstddef>
#include <optional>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// Owns the tables, and the file where it came from one of its own. Movable.
class OwnedTokenizer {
 public:
  OwnedTokenizer() = default;  // of nothing, to be assigned to

  // Errors: those of Tokenizer::FromGguf. The file outlives the tokenizer.
  static Result<OwnedTokenizer> FromGguf(const GgufFile& file) {
    OwnedTokenizer owned;
    INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, Tokenizer::ArenaBytesFor(file));
    INLAY_ASSIGN_OR_RETURN(owned.memory_, OwnedBuffer::Create(bytes, "tokenizer"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(owned.memory_.bytes()));
    INLAY_ASSIGN_OR_RETURN(owned.tokenizer_, Tokenizer::FromGguf(file, arena));
    return owned;
  }

  // llama2.c's tokenizer.bin at `path`, for a model of `vocab` tokens. Errors: kSystem, and those of
  // Tokenizer::FromLlama2c.
  static Result<OwnedTokenizer> FromLlama2c(const char* path, std::size_t vocab) {
    OwnedTokenizer owned;
    INLAY_ASSIGN_OR_RETURN(owned.mapping_, MappedFile::Open(path));
    INLAY_ASSIGN_OR_RETURN(owned.memory_, OwnedBuffer::Create(Tokenizer::MaxArenaBytes(vocab), "tokenizer"));
    INLAY_ASSIGN_OR_RETURN(Arena arena, Arena::Create(owned.memory_.bytes()));
    INLAY_ASSIGN_OR_RETURN(owned.tokenizer_, Tokenizer::FromLlama2c(owned.mapping_.bytes(), vocab, arena));
    return owned;
  }

  // True when the file says that it has no vocabulary ("no_vocab"), or does not mention one.
  static bool IsAbsent(const GgufFile& file) {
    const Result<std::string_view> model = file.GetString("tokenizer.ggml.model");
    return !model || *model == "no_vocab" || *model == "none";
  }

  // nullptr when there is none.
  const Tokenizer* get() const { return tokenizer_ ? &*tokenizer_ : nullptr; }

 private:
  MappedFile mapping_;
  OwnedBuffer memory_;
  std::optional<Tokenizer> tokenizer_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_OWNED_TOKENIZER_HPP_

// --- inlay/weights/weight_source.hpp

// Finds a model's configuration and tensors in a file: GGUF or llama2.c. The only place that knows a file's key and
// tensor names; after it, there are roles.
#ifndef INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_
#define INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// One tensor as the file stores it: rows of whole blocks, row after row. Points into the file.
struct SourceTensor {
  const std::byte* data = nullptr;
  WeightType type = WeightType::kF32;
};

namespace detail {

// An integer hyperparameter "llama.NAME". Values that do not fit ModelConfig's 32 bits are refused, not cut.
inline Result<std::uint32_t> GgufDimension(const GgufFile& file, std::string_view architecture, std::string_view name,
                                           std::optional<std::uint32_t> fallback = {}) {
  const TextBuffer<96> key(architecture, ".", name);
  if (fallback && !file.Find(key.view())) return *fallback;
  INLAY_ASSIGN_OR_RETURN(const std::uint64_t value, file.GetUnsigned(key.view()));
  if (value > 0xFFFFFFFFu) return Fail(ErrorCode::kTooLarge, key.view(), value, " is beyond any model's size");
  return static_cast<std::uint32_t>(value);
}

inline Result<float> GgufNumber(const GgufFile& file, std::string_view architecture, std::string_view name,
                                float fallback) {
  const TextBuffer<96> key(architecture, ".", name);
  if (!file.Find(key.view())) return fallback;
  return file.GetFloat(key.view());
}

}  // namespace detail

// What a configuration takes from the presence and shape of tensors instead of keys.
struct TensorFacts {
  std::uint32_t vocab = 0;
  bool tied_embeddings = false;
  bool rope_factors = false;
};

// Reads and validates the hyperparameters of a GGUF file. Errors name the key. kUnsupported: another architecture, or a
// feature of this one that the library does not run (named), so that no file is run wrongly.
inline Result<ModelConfig> ReadConfig(const GgufFile& file, const TensorFacts& facts) {
  INLAY_ASSIGN_OR_RETURN(const std::string_view architecture, file.GetString("general.architecture"));
  if (architecture != Name(Architecture::kLlama)) {
    return Fail(ErrorCode::kUnsupported, "general.architecture", "\"", architecture, "\" is not one of: llama");
  }
  const auto dimension = [&](std::string_view name, std::optional<std::uint32_t> fallback = {}) {
    return detail::GgufDimension(file, architecture, name, fallback);
  };
  ModelConfig config;
  INLAY_ASSIGN_OR_RETURN(config.dim, dimension("embedding_length"));
  INLAY_ASSIGN_OR_RETURN(config.layers, dimension("block_count"));
  INLAY_ASSIGN_OR_RETURN(config.heads, dimension("attention.head_count"));
  INLAY_ASSIGN_OR_RETURN(config.kv_heads, dimension("attention.head_count_kv", config.heads));
  INLAY_ASSIGN_OR_RETURN(config.ffn_dim, dimension("feed_forward_length"));
  INLAY_ASSIGN_OR_RETURN(config.context, dimension("context_length"));
  INLAY_ASSIGN_OR_RETURN(config.window, dimension("attention.sliding_window", 0));
  INLAY_ASSIGN_OR_RETURN(config.experts, dimension("expert_count", 0));
  INLAY_ASSIGN_OR_RETURN(config.experts_per_token, dimension("expert_used_count", 0));
  const std::uint32_t even_split = config.heads == 0 ? 0 : config.dim / config.heads;
  INLAY_ASSIGN_OR_RETURN(config.head_dim, dimension("attention.key_length", even_split));
  INLAY_ASSIGN_OR_RETURN(const std::uint32_t value_length, dimension("attention.value_length", config.head_dim));
  if (value_length != config.head_dim) {
    return Fail(ErrorCode::kUnsupported, "llama.attention.value_length", "differs from key_length");
  }
  INLAY_ASSIGN_OR_RETURN(config.rope_dim, dimension("rope.dimension_count", config.head_dim));
  INLAY_ASSIGN_OR_RETURN(config.rope_base, detail::GgufNumber(file, architecture, "rope.freq_base", 10000.0f));
  INLAY_ASSIGN_OR_RETURN(config.norm_epsilon,
                         detail::GgufNumber(file, architecture, "attention.layer_norm_rms_epsilon", 1e-5f));

  if (facts.rope_factors) config.rope_scaling = RopeScaling::kFactors;
  if (file.Find("llama.rope.scaling.type")) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view scaling, file.GetString("llama.rope.scaling.type"));
    if (scaling == "linear") {
      if (facts.rope_factors) {
        return Fail(ErrorCode::kUnsupported, "llama.rope.scaling.type", "linear together with rope_freqs.weight");
      }
      config.rope_scaling = RopeScaling::kLinear;
      INLAY_ASSIGN_OR_RETURN(config.rope_scale, detail::GgufNumber(file, architecture, "rope.scaling.factor", 1.0f));
    } else if (scaling != "none") {
      return Fail(ErrorCode::kUnsupported, "llama.rope.scaling.type", "\"", scaling, "\" is not one of: none, linear");
    }
  }
  config.vocab = facts.vocab;
  config.tied_embeddings = facts.tied_embeddings;
  INLAY_CHECK_OK(Validate(config));
  return config;
}

// The same for a file whose tensors are stored one by one.
inline Result<ModelConfig> ReadConfig(const GgufFile& file) {
  const std::optional<GgufTensor> embedding = file.FindTensor("token_embd.weight");
  if (!embedding) return Fail(ErrorCode::kMissing, "token_embd.weight", "the file has no such tensor");
  if (embedding->n_dims != 2 || embedding->dims[1] > kMaxDimension) {
    return Fail(ErrorCode::kMismatch, "token_embd.weight", "must have two dimensions, [dim, vocab]");
  }
  TensorFacts facts;
  facts.vocab = static_cast<std::uint32_t>(embedding->dims[1]);
  facts.tied_embeddings = !file.FindTensor("output.weight");
  facts.rope_factors = file.FindTensor("rope_freqs.weight").has_value();
  return ReadConfig(file, facts);
}

// Fills `table` (TensorCount(config) entries, by tensor number) from a GGUF file: every tensor that the configuration
// has must be there once, with its exact shape; a tensor that it does not have is an error too.
inline Result<void> BindSource(const ModelConfig& config, const GgufFile& file, std::span<SourceTensor> table) {
  for (SourceTensor& tensor : table) tensor = {};
  for (std::size_t i = 0; i < file.tensor_count(); ++i) {
    const GgufTensor tensor = file.tensor(i);
    const TextBuffer<96> field("tensor ", tensor.name);
    const std::optional<TensorId> id = ParseTensorName(config, tensor.name);
    if (!id) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "is not part of a ", Name(config.architecture),
                    " model with ", config.layers, " layers");
    }
    if (tensor.type == nullptr || !tensor.type->multiplies) {
      const std::string_view name = tensor.type == nullptr ? NameOfUnreadType(tensor.type_id) : tensor.type->name;
      return FailAt(ErrorCode::kUnsupported, tensor.offset, field.view(), "weight type ", tensor.type_id,
                    name.empty() ? "" : " (", name, name.empty() ? "" : ")", " is not one of this version's");
    }
    const TensorShape shape = ShapeOf(config, id->role);
    const std::uint64_t rows = IsVector(id->role) ? 1 : shape.rows;
    if (tensor.dims[0] != shape.cols || tensor.dims[1] != rows || tensor.dims[2] != shape.count || tensor.dims[3] != 1) {
      return FailAt(ErrorCode::kMismatch, tensor.offset, field.view(), "has shape [", tensor.dims[0], ", ", tensor.dims[1],
                    ", ", tensor.dims[2], "], the configuration needs [", shape.cols, ", ", rows, ", ", shape.count, "]");
    }
    table[TensorIndex(*id)] = {tensor.data.data(), tensor.type->type};
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (HasRole(config, id.role) && table[i].data == nullptr) {
      return Fail(ErrorCode::kMissing, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(),
                  "the file has no such tensor");
    }
  }
  return {};
}

// The configuration of a llama2.c checkpoint (version 0: float32, adjacent rotary pairs, base 10000, epsilon 1e-5).
inline Result<ModelConfig> ReadConfig(const Llama2cCheckpoint& file) {
  const Llama2cDims& dims = file.dims();
  ModelConfig config;
  config.dim = dims.dim;
  config.layers = dims.layers;
  config.heads = dims.heads;
  config.kv_heads = dims.kv_heads;
  config.head_dim = dims.head_dim();
  config.ffn_dim = dims.ffn_dim;
  config.vocab = dims.vocab;
  config.context = dims.context;
  config.rope_dim = config.head_dim;
  config.tied_embeddings = dims.tied_embeddings;
  INLAY_CHECK_OK(Validate(config));
  return config;
}

inline Result<void> BindSource(const ModelConfig& config, const Llama2cCheckpoint& file, std::span<SourceTensor> table) {
  for (std::size_t i = 0; i < table.size(); ++i) {
    const TensorId id = TensorAt(i);
    table[i] = {};
    if (!HasRole(config, id.role)) continue;
    std::span<const float> values;
    switch (id.role) {
      case TensorRole::kTokenEmbedding: values = file.token_embedding(); break;
      case TensorRole::kOutputNorm: values = file.final_norm(); break;
      case TensorRole::kOutput: values = file.classifier(); break;
      case TensorRole::kAttentionNorm: values = file.attention_norm(id.layer); break;
      case TensorRole::kQuery: values = file.wq(id.layer); break;
      case TensorRole::kKey: values = file.wk(id.layer); break;
      case TensorRole::kValue: values = file.wv(id.layer); break;
      case TensorRole::kAttentionOutput: values = file.wo(id.layer); break;
      case TensorRole::kFfnNorm: values = file.ffn_norm(id.layer); break;
      case TensorRole::kGate: values = file.w1(id.layer); break;
      case TensorRole::kUp: values = file.w3(id.layer); break;
      case TensorRole::kDown: values = file.w2(id.layer); break;
      case TensorRole::kRopeFactors:
      case TensorRole::kRouter: break;
    }
    table[i].data = reinterpret_cast<const std::byte*>(values.data());
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_WEIGHT_SOURCE_HPP_

// --- inlay/weights/pack.hpp

// Rewrites the tensors of a file into the packed weights buffer, once, in parallel, into memory of the caller.
#ifndef INLAY_WEIGHTS_PACK_HPP_
#define INLAY_WEIGHTS_PACK_HPP_

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <span>

INLAY_BEGIN_NAMESPACE

// Called between tensors with bytes written so far and in total; false stops the work (kCancelled).
using PackProgress = FunctionRef<bool(std::size_t done, std::size_t total)>;

// The type of each tensor as it will be packed: a matrix's own, F32 for vectors. `types` has one entry per source.
inline void ListTypes(std::span<const SourceTensor> sources, std::span<WeightType> types) {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    types[i] = IsVector(TensorAt(i).role) ? WeightType::kF32 : sources[i].type;
  }
}

namespace detail {

// Whether `rows` rows of `cols` values decode to finite numbers. Decodes piece by piece into a fixed buffer: a row is
// made of independent blocks.
inline bool RowsAreFinite(WeightType type, const std::byte* data, std::size_t rows, std::size_t cols) {
  constexpr std::size_t kPiece = 256;
  std::array<float, kPiece> values;
  const std::size_t row_bytes = RowBytes(type, cols);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; c += kPiece) {
      const std::size_t count = std::min(kPiece, cols - c);
      DecodeRow(type, data + r * row_bytes + RowBytes(type, c), count, values.data());
      if (!std::all_of(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(count), IsFinite)) return false;
    }
  }
  return true;
}

// Packs one matrix of [rows, cols]; false when check_finite found a row with NaN or infinity. The padding after the
// last tile is zeroed, so that equal models give equal bytes.
inline bool PackMatrix(const SourceTensor& source, std::size_t rows, std::size_t cols, std::span<std::byte> out,
                       bool check_finite, ExecutorRef executor) {
  const std::size_t row_bytes = RowBytes(source.type, cols);
  const std::size_t tile_bytes = PackedTileBytes(source.type, cols);
  const std::size_t tiles = DivideUp(rows, kRowTile);
  constexpr std::size_t kTilesPerTask = 4;
  std::atomic<bool> finite{true};
  executor.Run(DivideUp(tiles, kTilesPerTask), [&](std::size_t task) {
    const std::size_t end = std::min(tiles, (task + 1) * kTilesPerTask);
    for (std::size_t tile = task * kTilesPerTask; tile < end; ++tile) {
      const std::size_t row = tile * kRowTile;
      const std::size_t valid = std::min(kRowTile, rows - row);
      std::byte* to = out.data() + tile * tile_bytes;
      PackTile(source.type, source.data + row * row_bytes, row_bytes, valid, cols, to);
      if (check_finite && !RowsAreFinite(source.type, source.data + row * row_bytes, valid, cols)) {
        finite.store(false, std::memory_order_relaxed);
      }
    }
  });
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(tiles * tile_bytes), out.end(), std::byte{0});
  return finite.load();
}

}  // namespace detail

// Fills `out` (PackedWeightsBytes(config, types) bytes) from `sources`. With check_finite, a scale or value that is NaN
// or infinite is an error that names the tensor. On any error the content of `out` is unspecified.
// Cost: reads and writes every weight once; check_finite decodes them too.
inline Result<void> PackWeights(const ModelConfig& config, std::span<const SourceTensor> sources, bool check_finite,
                                std::span<std::byte> out, ExecutorRef executor, PackProgress progress) {
  if (sources.size() != TensorCount(config)) {
    return Fail(ErrorCode::kInvalidArgument, "sources", sources.size(), " entries, the model has ", TensorCount(config));
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const TensorId id = TensorAt(i);
    if (!HasRole(config, id.role)) continue;
    const TensorShape shape = ShapeOf(config, id.role);
    const WeightType type = IsVector(id.role) ? WeightType::kF32 : sources[i].type;
    const std::size_t bytes = PackedTensorBytes(config, id.role, type);
    if (bytes > out.size() - at) {
      return Fail(ErrorCode::kOutOfMemory, "packed weights", "the buffer has only ", out.size(), " bytes");
    }
    const std::span<std::byte> to = out.subspan(at, bytes);
    bool finite = true;
    if (IsVector(id.role)) {
      std::fill(to.begin(), to.end(), std::byte{0});
      DecodeRow(sources[i].type, sources[i].data, shape.cols, reinterpret_cast<float*>(to.data()));
      finite = !check_finite || detail::RowsAreFinite(sources[i].type, sources[i].data, 1, shape.cols);
    } else {
      const std::size_t stride = bytes / shape.count;
      const std::size_t source_stride = shape.rows * RowBytes(type, shape.cols);
      for (std::size_t n = 0; n < shape.count; ++n) {
        const SourceTensor matrix{sources[i].data + n * source_stride, type};
        finite &= detail::PackMatrix(matrix, shape.rows, shape.cols, to.subspan(n * stride, stride), check_finite, executor);
      }
    }
    if (!finite) {
      return Fail(ErrorCode::kNonFinite, TextBuffer<96>("tensor ", TensorName(config, id).view()).view(),
                  "holds NaN or infinity");
    }
    at += bytes;
    if (!progress(at, out.size())) return Fail(ErrorCode::kCancelled, "pack", "stopped by the caller");
  }
  return {};
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_PACK_HPP_

// --- inlay/weights/packed_file.hpp

// The packed model file: a valid GGUF file that opens with zero copy.
//
// It holds the metadata of the file it was made from (tokenizer, hyperparameters), the keys below, and one I8 tensor
// "inlay.weights" of 64-byte alignment: the packed weights buffer. Any GGUF inspector can list it; only inlay runs it.
//   inlay.layout           string   id of the packed layout (kernels/packed_layout.hpp)
//   inlay.tensor_types     u8[]     GGUF type id of each tensor, by tensor number (weights/tensor_roles.hpp)
//   inlay.vocab_size       u32      rows of the embedding table
//   inlay.tied_embeddings  bool     the output matrix is the embedding table
//   inlay.rope_factors     bool     the buffer holds rotary factors
//   inlay.sha256           string   of the tensor's bytes, 64 lower-case hexadecimal digits
#ifndef INLAY_WEIGHTS_PACKED_FILE_HPP_
#define INLAY_WEIGHTS_PACKED_FILE_HPP_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

inline constexpr std::string_view kPackedTensorName = "inlay.weights";
inline constexpr std::string_view kPackedKeyPrefix = "inlay.";

namespace detail {
constexpr std::array<char, 64> HexDigits(const Sha256Digest& digest) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::array<char, 64> text{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    const unsigned byte = static_cast<unsigned>(digest[i]);
    text[2 * i] = kDigits[byte >> 4];
    text[2 * i + 1] = kDigits[byte & 15];
  }
  return text;
}
}  // namespace detail

// What a packed file holds, as views into it.
class PackedFile {
 public:
  static bool IsPacked(const GgufFile& file) { return file.Find("inlay.layout").has_value(); }

  // Checks everything but the hash. kUnsupported for another layout; kMismatch when sizes contradict the configuration.
  static Result<PackedFile> Open(const GgufFile& file) {
    INLAY_ASSIGN_OR_RETURN(const std::string_view layout, file.GetString("inlay.layout"));
    if (layout != kPackedLayoutId) {
      return Fail(ErrorCode::kUnsupported, "inlay.layout", "\"", layout, "\"; this version reads \"", kPackedLayoutId,
                  "\": pack the model again from its original file");
    }
    TensorFacts facts;
    INLAY_ASSIGN_OR_RETURN(const std::uint64_t vocab, file.GetUnsigned("inlay.vocab_size", kMaxDimension));
    facts.vocab = static_cast<std::uint32_t>(vocab);
    INLAY_ASSIGN_OR_RETURN(facts.tied_embeddings, file.GetBool("inlay.tied_embeddings"));
    INLAY_ASSIGN_OR_RETURN(facts.rope_factors, file.GetBool("inlay.rope_factors"));
    PackedFile packed;
    INLAY_ASSIGN_OR_RETURN(packed.config_, ReadConfig(file, facts));

    INLAY_ASSIGN_OR_RETURN(const GgufArray types, file.GetArray("inlay.tensor_types", GgufType::kU8));
    if (types.count != TensorCount(packed.config_)) {
      return Fail(ErrorCode::kMismatch, "inlay.tensor_types", types.count, " entries, the configuration needs ",
                  TensorCount(packed.config_));
    }
    for (std::uint64_t i = 0; i < types.count; ++i) {
      if (FindWeightType(std::uint32_t{types.at<std::uint8_t>(i)}) == nullptr) {
        return Fail(ErrorCode::kUnsupported, "inlay.tensor_types", "type ", types.at<std::uint8_t>(i), " is not known");
      }
    }
    // One byte each, and every value was just found to be an enumerator.
    packed.types_ = {reinterpret_cast<const WeightType*>(types.bytes.data()), static_cast<std::size_t>(types.count)};

    const std::optional<GgufTensor> tensor = file.FindTensor(kPackedTensorName);
    if (!tensor || file.tensor_count() != 1) {
      return Fail(ErrorCode::kMissing, kPackedTensorName, "a packed file holds exactly this one tensor");
    }
    if (tensor->type == nullptr || tensor->type->type != WeightType::kI8) {
      return FailAt(ErrorCode::kMismatch, tensor->offset, kPackedTensorName, "must have type I8");
    }
    packed.weights_ = tensor->data;
    packed.offset_ = tensor->offset;
    INLAY_ASSIGN_OR_RETURN(packed.sha256_, file.GetString("inlay.sha256"));
    return packed;
  }

  const ModelConfig& config() const { return config_; }
  TensorTypes types() const { return types_; }
  std::span<const std::byte> weights() const { return weights_; }

  // Hashes the weights and compares: kBadFile when a bit has changed since the file was written. Cost: one pass over all
  // bytes (about 2 s per GB).
  Result<void> Verify() const {
    const std::array<char, 64> found = detail::HexDigits(Sha256::Of(weights_));
    if (sha256_ == std::string_view(found.data(), found.size())) return {};
    return FailAt(ErrorCode::kBadFile, offset_, kPackedTensorName, "the bytes do not have the SHA-256 in inlay.sha256");
  }

 private:
  ModelConfig config_;
  TensorTypes types_;
  std::span<const std::byte> weights_;
  std::string_view sha256_;
  std::uint64_t offset_ = 0;
};

// Where the metadata of a packed file comes from: `count` values written by `put`. For a GGUF source, CopiedMetadata.
struct MetadataSource {
  std::size_t count = 0;
  FunctionRef<Result<void>(GgufWriter&)> put;
};

// Values of a GGUF file that a packed file takes over: all but the alignment and keys of our own.
inline bool IsCopied(const GgufValue& value) {
  return value.key != kGgufAlignmentKey && !value.key.starts_with(kPackedKeyPrefix);
}
inline std::size_t CopiedMetadataCount(const GgufFile& file) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < file.metadata_count(); ++i) count += IsCopied(file.metadata(i)) ? 1 : 0;
  return count;
}
inline Result<void> CopyMetadata(const GgufFile& file, GgufWriter& writer) {
  for (std::size_t i = 0; i < file.metadata_count(); ++i) {
    const GgufValue value = file.metadata(i);
    if (IsCopied(value)) INLAY_CHECK_OK(writer.Copy(value));
  }
  return {};
}

// Writes a packed file: `packed` is what PackWeights made for `config` and `types`.
inline Result<void> WritePackedFile(const ModelConfig& config, TensorTypes types, std::span<const std::byte> packed,
                                    const MetadataSource& metadata, ByteSink sink) {
  if (packed.size() != PackedWeightsBytes(config, types)) {
    return Fail(ErrorCode::kInvalidArgument, "packed weights", "size does not match configuration and types");
  }
  GgufTensorEntry tensor;
  tensor.name = kPackedTensorName;
  tensor.type_id = static_cast<std::uint32_t>(WeightType::kI8);
  tensor.dims[0] = packed.size();
  tensor.bytes = packed.size();
  constexpr std::size_t kOwnKeys = 6;
  INLAY_ASSIGN_OR_RETURN(GgufWriter writer,
                         GgufWriter::Begin(sink, metadata.count + kOwnKeys, std::span(&tensor, 1), kAlignment));
  INLAY_CHECK_OK(metadata.put(writer));
  const std::array<char, 64> digest = detail::HexDigits(Sha256::Of(packed));
  INLAY_CHECK_OK(writer.Put("inlay.layout", kPackedLayoutId));
  INLAY_CHECK_OK(writer.PutArray("inlay.tensor_types",
                                 std::span(reinterpret_cast<const std::uint8_t*>(types.data()), types.size())));
  INLAY_CHECK_OK(writer.Put("inlay.vocab_size", config.vocab));
  INLAY_CHECK_OK(writer.Put("inlay.tied_embeddings", config.tied_embeddings));
  INLAY_CHECK_OK(writer.Put("inlay.rope_factors", config.rope_scaling == RopeScaling::kFactors));
  INLAY_CHECK_OK(writer.Put("inlay.sha256", std::string_view(digest.data(), digest.size())));
  INLAY_CHECK_OK(writer.EndMetadata());
  INLAY_CHECK_OK(writer.Append(packed));
  return writer.Finish();
}

// The hyperparameters of a configuration as GGUF metadata of the llama family, for files made from something else than
// GGUF. With ReadConfig, round trip (tied embeddings, vocabulary and rotary factors are facts of the tensors).
inline constexpr std::size_t kConfigMetadataCount = 14;
inline Result<void> PutConfig(const ModelConfig& c, std::string_view name, GgufWriter& writer) {
  INLAY_CHECK_OK(writer.Put("general.architecture", Name(c.architecture)));
  INLAY_CHECK_OK(writer.Put("general.name", name));
  INLAY_CHECK_OK(writer.Put("llama.vocab_size", c.vocab));
  INLAY_CHECK_OK(writer.Put("llama.context_length", c.context));
  INLAY_CHECK_OK(writer.Put("llama.embedding_length", c.dim));
  INLAY_CHECK_OK(writer.Put("llama.block_count", c.layers));
  INLAY_CHECK_OK(writer.Put("llama.feed_forward_length", c.ffn_dim));
  INLAY_CHECK_OK(writer.Put("llama.attention.head_count", c.heads));
  INLAY_CHECK_OK(writer.Put("llama.attention.head_count_kv", c.kv_heads));
  INLAY_CHECK_OK(writer.Put("llama.attention.key_length", c.head_dim));
  INLAY_CHECK_OK(writer.Put("llama.attention.value_length", c.head_dim));
  INLAY_CHECK_OK(writer.Put("llama.attention.layer_norm_rms_epsilon", c.norm_epsilon));
  INLAY_CHECK_OK(writer.Put("llama.rope.dimension_count", c.rope_dim));
  return writer.Put("llama.rope.freq_base", c.rope_base);
}

INLAY_END_NAMESPACE

#endif  // INLAY_WEIGHTS_PACKED_FILE_HPP_

// --- inlay/host/model_file.hpp

// Opens a model file on a machine with a heap and files: maps it, packs it if need be, reads its tokenizer. Everything
// here is convenience over the parts below; a program that brings its own memory uses those.
#ifndef INLAY_HOST_MODEL_FILE_HPP_
#define INLAY_HOST_MODEL_FILE_HPP_

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

INLAY_BEGIN_NAMESPACE

struct LoadOptions {
  // llama2.c's tokenizer.bin, for checkpoints that carry no tokenizer. Empty: none.
  const char* tokenizer_path = "";
  // Check what can be checked at the cost of reading every weight: the hash of a packed file, NaN and infinity elsewhere.
  bool verify = false;
  // False: configuration, types and tokenizer only; nothing is packed and packed_weights() of an unpacked file is empty.
  bool weights = true;
};

// A GGUF file (plain or packed) or a llama2.c checkpoint, ready to be bound to a model. Owns the mapping and, for files
// that are not packed, the packed copy. Movable; what it hands out stays valid as long as it, or what it was moved to, lives.
class ModelFile {
 public:
  // Errors: those of the readers, of ReadConfig and PackWeights, kSystem. Packing runs on `executor` and tells `progress`.
  static Result<ModelFile> Open(const char* path, const LoadOptions& options, ExecutorRef executor, PackProgress progress) {
    INLAY_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::Open(path));
    ModelFile file;
    if (StartsLikeGguf(mapping.bytes())) {
      INLAY_ASSIGN_OR_RETURN(file.gguf_, MappedGguf::Open(std::move(mapping)));
      INLAY_CHECK_OK(file.OpenGguf(options, executor, progress));
    } else {
      file.mapping_ = std::move(mapping);
      INLAY_CHECK_OK(file.OpenCheckpoint(options, executor, progress));
    }
    return file;
  }
  static Result<ModelFile> Open(const char* path, const LoadOptions& options, ExecutorRef executor) {
    return Open(path, options, executor, [](std::size_t, std::size_t) { return true; });
  }

  const ModelConfig& config() const { return config_; }
  TensorTypes types() const { return types_; }
  std::span<const std::byte> packed_weights() const { return packed_; }
  // nullptr where the file has none.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // Why there is none.
  const Error& tokenizer_error() const { return tokenizer_error_; }
  // nullptr for a llama2.c checkpoint.
  const GgufFile* gguf() const { return gguf_.file(); }
  // Whether the weights are used where they are in the file.
  bool was_packed() const { return was_packed_; }

 private:
  Result<void> OpenGguf(const LoadOptions& options, ExecutorRef executor, PackProgress progress) {
    INLAY_CHECK_OK(ReadTokenizer());
    if (!PackedFile::IsPacked(*gguf())) {
      INLAY_ASSIGN_OR_RETURN(config_, ReadConfig(*gguf()));
      return Pack(*gguf(), gguf_.mapping(), options, executor, progress);
    }
    INLAY_ASSIGN_OR_RETURN(const PackedFile packed, PackedFile::Open(*gguf()));
    if (options.verify) INLAY_CHECK_OK(packed.Verify());
    config_ = packed.config();
    types_ = packed.types();
    packed_ = packed.weights();
    was_packed_ = true;
    return {};
  }

  Result<void> OpenCheckpoint(const LoadOptions& options, ExecutorRef executor, PackProgress progress) {
    const Result<Llama2cCheckpoint> checkpoint = Llama2cCheckpoint::Open(mapping_.bytes());
    if (!checkpoint) {
      Error error = checkpoint.error();
      error.detail.Append("; the file is not GGUF, so it was read as a llama2.c checkpoint");
      return error;
    }
    INLAY_ASSIGN_OR_RETURN(config_, ReadConfig(*checkpoint));
    if (options.tokenizer_path[0] == '\0') {
      tokenizer_error_.detail = TextBuffer<192>("a llama2.c checkpoint has none; its tokenizer.bin must be named");
    } else {
      INLAY_ASSIGN_OR_RETURN(tokenizer_, OwnedTokenizer::FromLlama2c(options.tokenizer_path, config_.vocab));
    }
    return Pack(*checkpoint, mapping_, options, executor, progress);
  }

  // A file without a tokenizer, or with an algorithm that this version lacks, still runs on token ids; tokenizer_error()
  // says why there is no text.
  Result<void> ReadTokenizer() {
    if (OwnedTokenizer::IsAbsent(*gguf())) return {};
    Result<OwnedTokenizer> tokenizer = OwnedTokenizer::FromGguf(*gguf());
    if (tokenizer) {
      tokenizer_ = *std::move(tokenizer);
    } else if (tokenizer.error().code == ErrorCode::kUnsupported) {
      tokenizer_error_ = tokenizer.error();
    } else {
      return tokenizer.error();
    }
    return {};
  }

  template <class Source>
  Result<void> Pack(const Source& source, const MappedFile& mapping, const LoadOptions& options, ExecutorRef executor,
                    PackProgress progress) {
    const std::size_t count = TensorCount(config_);
    INLAY_ASSIGN_OR_RETURN(OwnedBuffer table, OwnedBuffer::Create(count * sizeof(SourceTensor), "tensor table"));
    const std::span<SourceTensor> sources(reinterpret_cast<SourceTensor*>(table.bytes().data()), count);
    INLAY_CHECK_OK(BindSource(config_, source, sources));
    INLAY_ASSIGN_OR_RETURN(types_memory_, OwnedBuffer::Create(count, "tensor types"));
    const std::span<WeightType> types(reinterpret_cast<WeightType*>(types_memory_.bytes().data()), count);
    ListTypes(sources, types);
    types_ = types;
    if (!options.weights) return {};
    INLAY_ASSIGN_OR_RETURN(buffer_, OwnedBuffer::Create(PackedWeightsBytes(config_, types_), "packed weights"));
    packed_ = buffer_.bytes();
    // A tensor that is packed is not needed in the file's form: without this a model would be in memory twice.
    const auto release = [&](std::size_t done, std::size_t total) {
      mapping.ReleasePages();
      return progress(done, total);
    };
    return PackWeights(config_, sources, options.verify, buffer_.bytes(), executor, release);
  }

  MappedGguf gguf_;
  MappedFile mapping_;  // of a checkpoint
  OwnedBuffer buffer_;
  OwnedBuffer types_memory_;
  OwnedTokenizer tokenizer_;
  Error tokenizer_error_ = Fail(ErrorCode::kMissing, "tokenizer", "the model file has none");
  ModelConfig config_;
  TensorTypes types_;
  std::span<const std::byte> packed_;
  bool was_packed_ = false;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_MODEL_FILE_HPP_

// --- inlay/host/loaded_model.hpp

// A model file bound to a model type, owning everything: from a path to a model in one call.
#ifndef INLAY_HOST_LOADED_MODEL_HPP_
#define INLAY_HOST_LOADED_MODEL_HPP_

#include <cstddef>
#include <optional>
#include <span>

INLAY_BEGIN_NAMESPACE

// ModelType: AnyModel, or a static Model<kConfig, Formats>, for which the file must hold exactly that model. Movable;
// sessions refer to model(), so it stays where it is while there are any.
template <class ModelType>
class LoadedModel {
 public:
  // Errors: those of ModelFile::Open and of ModelType::Create.
  static Result<LoadedModel> Open(const char* path, const LoadOptions& options, ExecutorRef executor,
                                  PackProgress progress) {
    LoadedModel loaded;
    INLAY_ASSIGN_OR_RETURN(loaded.file_, ModelFile::Open(path, options, executor, progress));
    const ModelConfig& config = loaded.file_.config();
    INLAY_ASSIGN_OR_RETURN(loaded.table_, OwnedBuffer::Create(config.layers * sizeof(LayerWeights), "layer table"));
    const std::span<LayerWeights> table(reinterpret_cast<LayerWeights*>(loaded.table_.bytes().data()), config.layers);
    INLAY_ASSIGN_OR_RETURN(loaded.model_,
                           ModelType::Create(config, loaded.file_.types(), loaded.file_.packed_weights(), table));
    return loaded;
  }
  static Result<LoadedModel> Open(const char* path, const LoadOptions& options, ExecutorRef executor) {
    return Open(path, options, executor, [](std::size_t, std::size_t) { return true; });
  }
  static Result<LoadedModel> Open(const char* path, ExecutorRef executor) { return Open(path, LoadOptions{}, executor); }

  const ModelType& model() const { return *model_; }
  const ModelFile& file() const { return file_; }
  // nullptr where the file has none.
  const Tokenizer* tokenizer() const { return file_.tokenizer(); }

 private:
  LoadedModel() = default;

  ModelFile file_;
  OwnedBuffer table_;
  std::optional<ModelType> model_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_LOADED_MODEL_HPP_

// --- inlay/host/packed_model_writer.hpp

// Writes an opened model file as a packed one, whatever it came from. A llama2.c tokenizer becomes GGUF metadata on the
// way, so that the packed file runs alone.
#ifndef INLAY_HOST_PACKED_MODEL_WRITER_HPP_
#define INLAY_HOST_PACKED_MODEL_WRITER_HPP_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

INLAY_BEGIN_NAMESPACE

// The metadata values that PutTokenizer writes.
inline constexpr std::size_t kTokenizerMetadataCount = 10;

// A SentencePiece vocabulary as GGUF's "tokenizer.ggml." keys. Spaces become U+2581 and the sequence markers "<s>" and
// "</s>", as GGUF has them. Ids, scores and what ends a generation stay. kOutOfMemory: the heap refused a few hundred KB.
inline Result<void> PutTokenizer(const Tokenizer& tokenizer, GgufWriter& writer) {
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  const std::size_t count = tokenizer.size();
  INLAY_ASSIGN_OR_RETURN(OwnedBuffer numbers, OwnedBuffer::Create(count * sizeof(float), "token scores"));
  INLAY_ASSIGN_OR_RETURN(OwnedBuffer spelling,
                         OwnedBuffer::Create(kSpaceMark.size() * tokenizer.max_piece_bytes(), "token piece"));
  char* const text = reinterpret_cast<char*>(spelling.bytes().data());
  const auto piece_of = [&](std::size_t i) -> std::string_view {
    const TokenId id = static_cast<TokenId>(i);
    if (id == tokenizer.bos()) return "<s>";
    if (id == tokenizer.eos()) return "</s>";
    std::size_t size = 0;
    for (const char c : vocabulary.Piece(id)) {
      if (c == ' ') {
        size += kSpaceMark.copy(text + size, kSpaceMark.size());
      } else {
        text[size++] = c;
      }
    }
    return {text, size};
  };
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.model", "llama"));
  INLAY_CHECK_OK(writer.PutStrings("tokenizer.ggml.tokens", count, piece_of));
  float* const scores = reinterpret_cast<float*>(numbers.bytes().data());
  for (std::size_t i = 0; i < count; ++i) scores[i] = vocabulary.Score(static_cast<TokenId>(i));
  INLAY_CHECK_OK(writer.PutArray("tokenizer.ggml.scores", std::span<const float>(scores, count)));
  // GGUF's numbers of token types.
  std::int32_t* const types = reinterpret_cast<std::int32_t*>(numbers.bytes().data());
  for (std::size_t i = 0; i < count; ++i) {
    const TokenAttributes attributes = vocabulary.Attributes(static_cast<TokenId>(i));
    types[i] = (attributes & kTokenUnknown) != 0 ? 2 : (attributes & kTokenControl) != 0 ? 3
               : (attributes & kTokenByte) != 0  ? 6 : 1;
  }
  INLAY_CHECK_OK(writer.PutArray("tokenizer.ggml.token_type", std::span<const std::int32_t>(types, count)));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(tokenizer.bos())));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(tokenizer.eos())));
  INLAY_CHECK_OK(
      writer.Put("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(tokenizer.special().unknown)));
  // llama2.c's models begin the next text instead of ending this one: the token that begins a sequence ends a generation.
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.eot_token_id", static_cast<std::uint32_t>(tokenizer.bos())));
  INLAY_CHECK_OK(writer.Put("tokenizer.ggml.add_bos_token", tokenizer.add_bos()));
  return writer.Put("tokenizer.ggml.add_space_prefix", tokenizer.add_space_prefix());
}

// Writes `file`, which must have its weights (LoadOptions::weights). `name` becomes general.name where the file has no
// metadata of its own. Errors: those of the sink, kOutOfMemory. Cost: hashes and writes every weight once.
inline Result<void> WritePackedModel(const ModelFile& file, std::string_view name, ByteSink sink) {
  if (const GgufFile* gguf = file.gguf()) {
    auto copy = [gguf](GgufWriter& writer) { return CopyMetadata(*gguf, writer); };
    return WritePackedFile(file.config(), file.types(), file.packed_weights(), {CopiedMetadataCount(*gguf), copy}, sink);
  }
  const Tokenizer* tokenizer = file.tokenizer();
  auto put = [&](GgufWriter& writer) -> Result<void> {
    INLAY_CHECK_OK(PutConfig(file.config(), name, writer));
    if (tokenizer != nullptr) return PutTokenizer(*tokenizer, writer);
    return writer.Put("tokenizer.ggml.model", "no_vocab");
  };
  const std::size_t count = kConfigMetadataCount + (tokenizer != nullptr ? kTokenizerMetadataCount : 1);
  return WritePackedFile(file.config(), file.types(), file.packed_weights(), {count, put}, sink);
}

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_PACKED_MODEL_WRITER_HPP_

// --- inlay/host/text_generator.hpp

// A text generator in one object: model, tokenizer, session and all their memory, for programs that want text from a
// prompt and have a heap.
#ifndef INLAY_HOST_TEXT_GENERATOR_HPP_
#define INLAY_HOST_TEXT_GENERATOR_HPP_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

INLAY_BEGIN_NAMESPACE

// The tokens of a text, in memory of their own. 
class EncodedText {
 public:
  EncodedText() = default;  // no tokens

  // Errors: those of Tokenizer::Encode, kOutOfMemory when the heap refuses.
  static Result<EncodedText> Create(const Tokenizer& tokenizer, std::string_view text, const EncodeOptions& options = {}) {
    EncodedText encoded;
    const std::size_t most = Tokenizer::MaxTokens(text.size());
    INLAY_ASSIGN_OR_RETURN(encoded.memory_, OwnedBuffer::Create(most * sizeof(TokenId), "tokens"));
    INLAY_ASSIGN_OR_RETURN(OwnedBuffer scratch,
                           OwnedBuffer::Create(Tokenizer::EncodeScratchBytes(text.size()), "tokenizer scratch"));
    const std::span<TokenId> out(reinterpret_cast<TokenId*>(encoded.memory_.bytes().data()), most);
    INLAY_ASSIGN_OR_RETURN(encoded.count_, tokenizer.Encode(text, options, scratch.bytes(), out));
    return encoded;
  }

  std::span<const TokenId> tokens() const {
    return {reinterpret_cast<const TokenId*>(memory_.bytes().data()), count_};
  }

 private:
  OwnedBuffer memory_;
  std::size_t count_ = 0;
};

//   inlay::ThreadPool threads(4);
//   auto generator = inlay::TextGenerator<inlay::AnyModel>::Open("model.gguf", threads);
//   auto story = generator->Generate("Once upon a time");
//   for (std::string_view text : *story) std::cout << text;
//
// Movable. The executor outlives it.
template <class ModelType>
class TextGenerator {
 public:
  struct Options {
    LoadOptions load;
    SessionOptions session;
  };

  // Errors: those of LoadedModel::Open and Session::Create; kMissing or kUnsupported when the file has no tokenizer that
  // this library reads.
  static Result<TextGenerator> Open(const char* path, const Options& options, ExecutorRef executor) {
    TextGenerator generator(executor);
    INLAY_ASSIGN_OR_RETURN(LoadedModel<ModelType> loaded, LoadedModel<ModelType>::Open(path, options.load, executor));
    if (loaded.tokenizer() == nullptr) return loaded.file().tokenizer_error();
    generator.state_.reset(new (std::nothrow) State{std::move(loaded), {}, {}, {}, {}});
    if (!generator.state_) return Fail(ErrorCode::kOutOfMemory, "text generator", "the heap refused");
    State& state = *generator.state_;
    INLAY_ASSIGN_OR_RETURN(const std::size_t bytes, Session<ModelType>::MemoryBytes(generator.model(), options.session));
    INLAY_ASSIGN_OR_RETURN(state.session_memory, OwnedBuffer::Create(bytes, "session"));
    INLAY_ASSIGN_OR_RETURN(
        state.session, Session<ModelType>::Create(generator.model(), options.session, state.session_memory.bytes()));
    return generator;
  }
  static Result<TextGenerator> Open(const char* path, ExecutorRef executor) { return Open(path, Options{}, executor); }

  const ModelType& model() const { return state_->loaded.model(); }
  const Tokenizer& tokenizer() const { return *state_->loaded.tokenizer(); }
  const ModelFile& file() const { return state_->loaded.file(); }

  // Reads the prompt from the beginning of the context and returns what follows it, to be run through with range-for; see
  // Generation. The text generated before is forgotten, and its Generation must not be used any more.
  // Errors: kContextFull (prompt), an option out of range, kOutOfMemory.
  Result<Generation<ModelType>> Generate(std::string_view prompt, const GenerateOptions& options = {}) {
    State& state = *state_;
    INLAY_ASSIGN_OR_RETURN(state.prompt, EncodedText::Create(tokenizer(), prompt));
    const std::span<const TokenId> tokens = state.prompt.tokens();
    state.session->Truncate(0);
    INLAY_CHECK_OK(state.session->Append(tokens, executor_));
    const std::size_t bytes = Generation<ModelType>::MemoryBytes(model(), tokenizer(), options);
    if (bytes > state.generation_memory.size()) {
      INLAY_ASSIGN_OR_RETURN(state.generation_memory, OwnedBuffer::Create(bytes, "generation"));
    }
    return Generation<ModelType>::Create(*state.session, tokenizer(), tokens, options, state.generation_memory.bytes(),
                                         executor_);
  }

 private:
  // On the heap, because a session points to its model.
  struct State {
    LoadedModel<ModelType> loaded;
    OwnedBuffer session_memory;
    OwnedBuffer generation_memory;
    std::optional<Session<ModelType>> session;
    EncodedText prompt;
  };

  explicit TextGenerator(ExecutorRef executor) : executor_(executor) {}

  ExecutorRef executor_;
  std::unique_ptr<State> state_;
};

INLAY_END_NAMESPACE

#endif  // INLAY_HOST_TEXT_GENERATOR_HPP_

// --- inlay/inlay.hpp

// Everything, in one include. A file that needs less includes less: each header stands alone.
#ifndef INLAY_INLAY_HPP_
#define INLAY_INLAY_HPP_

#endif  // INLAY_INLAY_HPP_

#endif  // INLAY_SINGLE_INCLUDE_HPP_
