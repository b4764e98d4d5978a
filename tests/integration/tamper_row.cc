// tamper_row DIR TABLE FROM TO [digest]: changes one row of a projection outside of the fold, as
// nobody should. In the first row of TABLE that holds the text FROM it is replaced by TO, of the
// same length, so that the row can still be read. With `digest` the stored digest is made to fit,
// so that only folding again can tell. Ends with 1 where no row holds it.
#include <rocksdb/db.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>

#include "storage/projection/digest.h"
#include "storage/projection/rows.h"

namespace {

rocksdb::Status FitDigest(rocksdb::DB& db) {
  concordat::storage::MemoryRows rows;
  const std::unique_ptr<rocksdb::Iterator> row(db.NewIterator({}));
  for (row->SeekToFirst(); row->Valid(); row->Next())
    rows.Set(row->key().ToString(), row->value().ToString());
  return db.Put({}, rocksdb::Slice("\0digests", 8), concordat::storage::Digests::Of(rows).Encode());
}

}  // namespace

int main(int argc, char** argv) {
  const bool fit = argc == 6 && std::strcmp(argv[5], "digest") == 0;
  if ((argc != 5 && !fit) || std::strlen(argv[3]) != std::strlen(argv[4])) {
    std::fprintf(stderr,
                 "usage: tamper_row DIR TABLE FROM TO [digest], FROM and TO of equal length\n");
    return 2;
  }
  const std::string from = argv[3];
  rocksdb::DB* raw = nullptr;
  const rocksdb::Status opened = rocksdb::DB::Open(rocksdb::Options(), argv[1], &raw);
  const std::unique_ptr<rocksdb::DB> db(raw);
  if (!opened.ok()) {
    std::fprintf(stderr, "tamper_row: %s\n", opened.ToString().c_str());
    return 1;
  }
  const std::string prefix = concordat::storage::RowKey(argv[2], "");
  const std::unique_ptr<rocksdb::Iterator> row(db->NewIterator({}));
  for (row->Seek(prefix); row->Valid() && row->key().starts_with(prefix); row->Next()) {
    std::string value = row->value().ToString();
    const size_t at = value.find(from);
    if (at == std::string::npos) continue;
    value.replace(at, from.size(), argv[4]);
    const rocksdb::Status written = db->Put({}, row->key(), value);
    std::printf("%s: %s\n", row->key().ToString().c_str() + prefix.size(),
                written.ToString().c_str());
    if (!written.ok()) return 1;
    return !fit || FitDigest(*db).ok() ? 0 : 1;
  }
  std::fprintf(stderr, "tamper_row: found no row with %s in %s\n", argv[3], argv[2]);
  return 1;
}
