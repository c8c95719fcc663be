import java.io.File;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.SchemaNormalization;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.message.BinaryMessageEncoder;

/**
 * Writes each record of records.jsonl (Avro's JSON encoding) in single-object encoding with Avro's own Java library:
 * a line "name hex" each, kept in single_object.txt. Run: java -cp 'lib/*' SingleObject.java SCHEMA_FOLDER records.txt
 */
class SingleObject {
    public static void main(String[] args) throws Exception {
        for (String line : Files.readAllLines(new File(args[1]).toPath())) {
            String name = line.substring(0, line.indexOf(' '));
            Schema schema = new Schema.Parser().parse(new File(args[0], name + ".avsc"));
            var decoder = DecoderFactory.get().jsonDecoder(schema, line.substring(name.length() + 1));
            GenericRecord record = new GenericDatumReader<GenericRecord>(schema).read(null, decoder);
            ByteBuffer bytes = new BinaryMessageEncoder<GenericRecord>(GenericData.get(), schema).encode(record);
            byte[] out = new byte[bytes.remaining()];
            bytes.get(out);
            System.out.println(name + " " + HexFormat.of().formatHex(out));
        }
    }
}
