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

#include "inlay/core/arena.hpp"
#include "inlay/core/checked.hpp"
#include "inlay/core/macros.hpp"
#include "inlay/core/result.hpp"
#include "inlay/files/byte_reader.hpp"
#include "inlay/formats/finite.hpp"
#include "inlay/formats/weight_type.hpp"

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

// A string as GGUF stores it (64-bit length, bytes), at a place where it is known to be complete.
inline std::string_view GgufStringAt(const std::byte* from) {
  return {reinterpret_cast<const char*>(from + 8), static_cast<std::size_t>(LoadAs<std::uint64_t>(from))};
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
  std::uint32_t shard;                           // which file of a split model it is in; 0 for others

  std::uint64_t cols() const { return dims[0]; }
  std::uint64_t rows() const { return dims[1] * dims[2] * dims[3]; }
};

// What a file says of itself as a part of a model that was split over several (keys "split.*", llama-gguf-split's).
struct GgufSplit {
  std::uint64_t number = 0;   // of the file, from 0
  std::uint64_t count = 1;    // of files
  std::uint64_t tensors = 0;  // of all files together
};

// An opened file: a small view, cheap to copy, of the file's bytes and of the index made at Open. Both must outlive it.
// Several files of a split model, joined, look the same: the metadata is the first file's, the tensors are those of all.
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
  // Errors name the field and the byte: kBadFile, kTruncated, kUnsupported (version, big-endian, one file of a split model,
  // a nested array), kTooLarge, kOutOfMemory (index smaller than IndexBytes); the arena is then as it was.
  // Cost: O(header bytes * log entries), no recursion.
  INLAY_COLD static Result<GgufFile> Open(std::span<const std::byte> file, Arena& index) {
    const Arena before = index;
    INLAY_ASSIGN_OR_RETURN(const GgufFile opened, OpenShard(file, index));
    const Result<GgufSplit> split = opened.split();
    if (split && split->count <= 1) return opened;
    index = before;
    if (!split) return split.error();
    return FailAt(ErrorCode::kUnsupported, opened.Find("split.count")->offset, "split.count", "is ", split->count,
                  ": this file alone is not the model; open it by the name of its first file");
  }

  // The same for a file that may be one of several of a split model, to be joined.
  static Result<GgufFile> OpenShard(std::span<const std::byte> file, Arena& index) {
    const Arena before = index;
    GgufFile opened;
    if (const Result<void> read = opened.ReadAll(file, index); !read) {
      index = before;
      return read.error();
    }
    return opened;
  }

  // Where in a split model the file stands; {0, 1} for a file that is not split. kMismatch when the keys are no numbers,
  // or the number is not below the count.
  INLAY_COLD Result<GgufSplit> split() const {
    GgufSplit split;
    if (!Find("split.count")) return split;
    INLAY_ASSIGN_OR_RETURN(const std::uint64_t count, GetUnsigned("split.count"));
    if (count <= 1) return split;
    split.count = count;
    INLAY_ASSIGN_OR_RETURN(split.number, GetUnsigned("split.no"));
    if (split.number >= split.count) {
      return FailAt(ErrorCode::kMismatch, Find("split.no")->offset, "split.no", "is ", split.number, ", split.count is ",
                    split.count);
    }
    INLAY_ASSIGN_OR_RETURN(split.tensors, GetUnsigned("split.tensors.count"));
    return split;
  }

  // Whether this file is number `number` of the split model whose first file is `first`: kMismatch where it is not.
  Result<void> CheckShardOf(const GgufFile& first, std::uint64_t number) const {
    INLAY_ASSIGN_OR_RETURN(const GgufSplit model, first.split());
    INLAY_ASSIGN_OR_RETURN(const GgufSplit own, split());
    const auto same = [this](std::string_view key, std::uint64_t found, std::uint64_t wanted) -> Result<void> {
      if (found == wanted) return {};
      const std::optional<GgufValue> value = Find(key);
      return FailAt(ErrorCode::kMismatch, value ? value->offset : 0, key, "is ", found, ", must be ", wanted,
                    ": the file belongs to another model or has another's name");
    };
    INLAY_CHECK_OK(same("split.count", own.count, model.count));
    INLAY_CHECK_OK(same("split.no", own.number, number));
    return same("split.tensors.count", own.tensors, model.tensors);
  }

  // All files of a split model as one. `shards` are in their order, each from OpenShard; the array must outlive the result.
  // kMismatch: a file missing, of another model or at a wrong place, a number of tensors that is not the one stated;
  // kBadFile: a tensor in two files. Cost: O(tensors * shards * log tensors).
  static Result<GgufFile> Join(std::span<const GgufFile> shards) {
    if (shards.empty()) return Fail(ErrorCode::kInvalidArgument, "shards", "are none");
    INLAY_ASSIGN_OR_RETURN(const GgufSplit model, shards[0].split());
    if (model.count != shards.size()) {
      return Fail(ErrorCode::kMismatch, "split.count", "is ", model.count, ", ", shards.size(), " files are there");
    }
    GgufFile joined = shards[0];
    if (shards.size() == 1) return joined;
    joined.shards_ = shards.data();
    joined.shard_count_ = shards.size();
    joined.joined_tensors_ = 0;
    for (std::size_t i = 0; i < shards.size(); ++i) {
      INLAY_CHECK_OK(shards[i].CheckShardOf(shards[0], i));
      for (std::size_t t = 0; t < shards[i].tensor_count(); ++t) {
        const GgufTensor tensor = shards[i].tensor(t);
        for (std::size_t k = 0; k < i; ++k) {
          if (!shards[k].FindTensor(tensor.name)) continue;
          return FailAt(ErrorCode::kBadFile, tensor.record, TensorField(tensor.name).view(), "is in the files ", k + 1, " and ",
                        i + 1, " of the split model");
        }
      }
      joined.joined_tensors_ += shards[i].tensor_count();
    }
    if (joined.joined_tensors_ != model.tensors) {
      return FailAt(ErrorCode::kMismatch, shards[0].Find("split.tensors.count")->offset, "split.tensors.count", "is ",
                    model.tensors, ", the ", shards.size(), " files have ", joined.joined_tensors_, " tensors");
    }
    return joined;
  }

  // Of a split model: the first file's.
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

  std::size_t tensor_count() const { return shards_ != nullptr ? joined_tensors_ : tensor_records_.size(); }
  // Tensor i in the file's order; O(1), O(files) for a split model.
  GgufTensor tensor(std::size_t i) const {
    INLAY_ASSERT(i < tensor_count());
    if (shards_ != nullptr) {
      std::uint32_t shard = 0;
      for (; i >= shards_[shard].tensor_count(); ++shard) i -= shards_[shard].tensor_count();
      GgufTensor tensor = shards_[shard].tensor(i);
      tensor.shard = shard;
      return tensor;
    }
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
  // O(log tensor_count), times the files of a split model.
  std::optional<GgufTensor> FindTensor(std::string_view name) const {
    for (std::uint32_t shard = 0; shard < shard_count_; ++shard) {
      std::optional<GgufTensor> found = shards_[shard].FindTensor(name);
      if (!found) continue;
      found->shard = shard;
      return found;
    }
    if (shards_ != nullptr) return std::nullopt;
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
  const GgufFile* shards_ = nullptr;         // [shard_count_] of a split model, whose first is this file
  std::size_t shard_count_ = 0;
  std::size_t joined_tensors_ = 0;  // of all shards
};

INLAY_END_NAMESPACE

#endif  // INLAY_FILES_GGUF_HPP_
