#define BOOST_TEST_DYN_LINK
#include <boost/test/unit_test.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "inlay/files/mapped_file.hpp"

namespace {

using inlay::ErrorCode;
using inlay::MappedFile;

// A directory of its own, gone with the test.
class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "inlay_test_XXXXXX").string();
    BOOST_REQUIRE(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }

  std::string Write(const std::string& name, const std::string& content) const {
    const std::filesystem::path path = path_ / name;
    std::ofstream(path, std::ios::binary) << content;
    return path.string();
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

void ExpectRefused(const inlay::Result<MappedFile>& file, std::string_view path, std::string_view words) {
  BOOST_REQUIRE(!file.has_value());
  BOOST_TEST((file.error().code == ErrorCode::kSystem));
  BOOST_TEST(file.error().field.view() == path);
  BOOST_TEST_INFO(file.error().Message().view());
  BOOST_TEST(file.error().detail.view().find(words) != std::string_view::npos);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(files_mapped_file)

BOOST_AUTO_TEST_CASE(ShowsTheFilesBytes) {
  const Directory directory;
  std::string content(100000, 'x');
  content[99999] = 'y';
  const auto file = MappedFile::Open(directory.Write("a", content).c_str());
  BOOST_REQUIRE(file.has_value());
  BOOST_REQUIRE(file->bytes().size() == content.size());
  BOOST_TEST(std::memcmp(file->bytes().data(), content.data(), content.size()) == 0);
  BOOST_TEST(reinterpret_cast<std::uintptr_t>(file->bytes().data()) % 64 == 0u);
}

BOOST_AUTO_TEST_CASE(AnEmptyFileHasNoBytes) {
  const Directory directory;
  const auto file = MappedFile::Open(directory.Write("empty", "").c_str());
  BOOST_REQUIRE(file.has_value());
  BOOST_TEST(file->bytes().empty());
}

BOOST_AUTO_TEST_CASE(WhatIsNotAFileIsRefused) {
  const Directory directory;
  const std::string missing = (directory.path() / "m").string();
  ExpectRefused(MappedFile::Open(missing.c_str()), missing, "no such file");
  ExpectRefused(MappedFile::Open(directory.path().c_str()), directory.path().string(), "is a directory");
  const std::string below_file = directory.Write("f", "x") + "/g";
  ExpectRefused(MappedFile::Open(below_file.c_str()), below_file, "no such file");
  ExpectRefused(MappedFile::Open("/dev/null"), "/dev/null", "not a regular file");
  const std::string pipe = (directory.path() / "p").string();
  BOOST_REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  ExpectRefused(MappedFile::Open(pipe.c_str()), pipe, "not a regular file");  // and does not wait for a writer
  ExpectRefused(MappedFile::Open(""), "", "no such file");
  const auto null = MappedFile::Open(nullptr);
  BOOST_REQUIRE(!null.has_value());
  BOOST_TEST((null.error().code == ErrorCode::kInvalidArgument));
}

// Borrowed memory is left alone: neither given back to the system nor unmapped, whatever it is moved to.
BOOST_AUTO_TEST_CASE(BorrowsMemory) {
  const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::byte* const memory = static_cast<std::byte*>(std::aligned_alloc(page, 4 * page));
  BOOST_REQUIRE(memory != nullptr);
  std::memset(memory, 7, 4 * page);
  {
    MappedFile borrowed = MappedFile::Borrow({memory, 4 * page});
    borrowed.ReleasePages();
    MappedFile moved = std::move(borrowed);
    BOOST_TEST((moved.bytes().data() == memory && moved.bytes().size() == 4 * page));
    const Directory directory;
    auto file = MappedFile::Open(directory.Write("a", "first").c_str());
    BOOST_REQUIRE(file.has_value());
    MappedFile mapped = *std::move(file);
    std::swap(mapped, moved);
    BOOST_TEST(moved.bytes().size() == 5u);
    mapped.ReleasePages();
  }
  for (std::size_t i = 0; i < 4 * page; ++i) {
    if (memory[i] != std::byte{7}) BOOST_FAIL("byte " << i << " has changed");
  }
  std::free(memory);
}

BOOST_AUTO_TEST_CASE(MovesAndLetsGo) {
  const Directory directory;
  const std::string a = directory.Write("a", "first"), b = directory.Write("b", "second");
  // Many more times than a process may have files open or mapped.
  for (int i = 0; i < 100000; ++i) {
    auto file = MappedFile::Open(a.c_str());
    BOOST_REQUIRE(file.has_value());
    MappedFile moved = *std::move(file);
    if (i % 1000 != 0) continue;
    auto second = MappedFile::Open(b.c_str());
    BOOST_REQUIRE(second.has_value());
    const std::byte* where = second->bytes().data();
    moved = *std::move(second);
    BOOST_TEST((moved.bytes().data() == where && moved.bytes().size() == 6));
    MappedFile& self = moved;
    moved = std::move(self);
    BOOST_TEST(moved.bytes().size() == 6u);
    BOOST_TEST(static_cast<char>(moved.bytes()[0]) == 's');
  }
}

BOOST_AUTO_TEST_SUITE_END()
