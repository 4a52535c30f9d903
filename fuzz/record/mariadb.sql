-- What a MariaDB is asked to log for the corpora, once plain and once compressed. The fuzz targets
-- know that `compressed` is the first table.
CREATE DATABASE IF NOT EXISTS fuzz;
USE fuzz;
DROP TABLE IF EXISTS compressed, strings, addresses, times;
CREATE TABLE compressed (id BIGINT PRIMARY KEY, b BLOB COMPRESSED,
  v VARCHAR(300) COMPRESSED CHARACTER SET utf8mb4);
INSERT INTO compressed VALUES (1, REPEAT('long', 50), REPEAT('ä', 150)), (2, 'short', ''),
  (3, NULL, 'short'), (4, REPEAT(CHAR(0), 3000), NULL);
UPDATE compressed SET v = REPEAT('changed ', 20) WHERE id < 3;
DELETE FROM compressed WHERE id = 1;
CREATE TABLE strings (id BIGINT PRIMARY KEY, t TINYTEXT COMPRESSED CHARACTER SET latin1,
  m MEDIUMTEXT COMPRESSED CHARACTER SET utf8mb4, l LONGBLOB COMPRESSED,
  s VARBINARY(60) COMPRESSED, j JSON, c CHAR(10) CHARACTER SET ucs2,
  e ENUM('a', 'ö'), y SET('x', 'y', 'z'));
INSERT INTO strings VALUES (1, REPEAT('tiny', 40), REPEAT('メ', 100), REPEAT(CHAR(1, 2), 100),
  REPEAT('v', 55), '{"a": [1, null]}', 'ucs2', 'ö', 'x,z'),
  (2, 't', 'm', 'l', 's', '1', '', 'a', '');
UPDATE strings SET m = 'short', e = NULL WHERE id = 1;
DELETE FROM strings;
CREATE TABLE addresses (id BIGINT PRIMARY KEY, u UUID, i4 INET4, i6 INET6, b BINARY(16));
INSERT INTO addresses VALUES
  (1, '123e4567-e89b-12d3-a456-426655440000', '10.0.0.1', '2001:db8::ff00:42:8329', 'bytes'),
  (2, NULL, '255.255.255.255', '::ffff:1.2.3.4', NULL);
UPDATE addresses SET i4 = '0.0.0.0', i6 = '::' WHERE id = 1;
DELETE FROM addresses;
SET GLOBAL mysql56_temporal_format = OFF;
CREATE TABLE times (id BIGINT PRIMARY KEY, o TIME, od DATETIME, ot TIMESTAMP NULL);
SET GLOBAL mysql56_temporal_format = ON;
ALTER TABLE times ADD COLUMN t6 TIME(6), ADD COLUMN d3 DATETIME(3), ADD COLUMN s1 TIMESTAMP(1) NULL,
  ADD COLUMN n DECIMAL(20, 5), ADD COLUMN y YEAR, ADD COLUMN bi BIT(13), ADD COLUMN f FLOAT;
INSERT INTO times VALUES (1, '-11:22:33', '2026-01-02 03:04:05', '2026-01-02 03:04:05',
  '-11:22:33.456789', '2026-01-02 03:04:05.678', '2026-01-02 03:04:05.6', -12345.67891, 2026,
  b'1010101010101', 1.5), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
UPDATE times SET o = '838:59:59', y = 0 WHERE id = 1;
DELETE FROM times;
SET binlog_format = STATEMENT;
INSERT INTO compressed VALUES (9, 'a statement of some length', RAND());
SET @a = 'user variable';
UPDATE compressed SET b = @a WHERE id = 9;
SET binlog_format = ROW;
BEGIN;
INSERT INTO addresses (id) VALUES (3);
SAVEPOINT a;
INSERT INTO addresses (id) VALUES (4);
ROLLBACK TO a;
COMMIT;
SET gtid_domain_id = 4294967295;
CREATE OR REPLACE TABLE copied AS SELECT * FROM compressed;
TRUNCATE TABLE copied;
DROP TABLE copied;
